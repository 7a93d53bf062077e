"""Small pictures of events: cut to the object, inside the frame, of the size that was asked for."""

from __future__ import annotations

import asyncio
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.testclient import TestClient

from streamer.client import Evidence
from streamer.clock import FakeClock
from streamer.types import U8
from tests.fakes.web_store import MemoryStore
from web.app import WebSettings, create_app
from web.thumbnails import MARGIN, Thumbnails, part_of, thumbnail

RED, GREY = (0, 0, 255), (90, 90, 90)
ID = "gate:1:60:appear:7"
AT = f"/api/v1/events/{ID.replace(':', '%3A')}"


def jpeg(box: tuple[int, int, int, int], height: int = 360, width: int = 640) -> bytes:
    """Grey, and red inside the box."""
    picture = np.full((height, width, 3), GREY, np.uint8)
    x1, y1, x2, y2 = box
    picture[y1:y2, x1:x2] = RED
    return bytes(cv2.imencode(".jpg", picture)[1])


def event(box: tuple[float, ...] | None, source_hw: tuple[int, int] = (360, 640)) -> dict[str, Any]:
    return {"id": ID, "attrs": {"box_xyxy": box and list(box), "source_hw": list(source_hw)}}


def opened(body: bytes) -> U8:
    picture = cv2.imdecode(np.frombuffer(body, np.uint8), cv2.IMREAD_COLOR)
    assert picture is not None
    return picture.astype(np.uint8)


def red(picture: U8) -> np.ndarray[Any, Any]:
    return (picture[..., 2] > 180) & (picture[..., 0] < 90)


def test_the_object_fills_the_middle_with_a_margin_around_it() -> None:
    small = opened(thumbnail(jpeg((400, 100, 440, 220)), event((400, 100, 440, 220)), 104))
    assert small.shape == (78, 104, 3)
    rows, columns = np.nonzero(red(small))
    # 120 px high with .35 of it above and below: 120 of 204 px are 46 of 78
    assert abs((rows.max() - rows.min() + 1) - 78 / (1 + 2 * MARGIN)) <= 2
    assert (
        abs((rows.min() + rows.max()) / 2 - 38.5) <= 1
        and abs((columns.min() + columns.max()) / 2 - 51.5) <= 1
    )


def test_the_box_is_of_the_source_picture_whatever_size_was_kept() -> None:
    of_source = event((1200, 300, 1320, 660), (1080, 1920))
    small = opened(thumbnail(jpeg((400, 100, 440, 220)), of_source, 104))
    assert red(small)[39, 52] and not red(small)[2].any()


def test_without_a_box_the_middle_of_the_picture_is_shown() -> None:
    assert part_of({"attrs": {}}, 360, 640) == (80, 0, 480, 360)
    assert part_of({}, 640, 360) == (0, 185, 360, 270)
    small = opened(thumbnail(jpeg((300, 160, 340, 200)), event(None), 64))
    assert small.shape == (48, 64, 3) and red(small)[24, 32]


sides = st.floats(-50, 2500, allow_nan=False)


@given(x1=sides, y1=sides, x2=sides, y2=sides, height=st.integers(16, 1200), width=st.integers(16, 2000))
def test_a_part_lies_in_the_picture_and_is_4_to_3(
    x1: float, y1: float, x2: float, y2: float, height: int, width: int
) -> None:
    box = (min(x1, x2), min(y1, y2), max(x1, x2), max(y1, y2))
    left, top, wide, high = part_of(event(box, (1080, 1920)), height, width)
    assert left >= 0 and top >= 0 and wide > 0
    assert left + wide <= width + 1e-6 and top + high <= height + 1e-6
    assert high == pytest.approx(wide * 3 / 4)


@pytest.fixture
def store() -> MemoryStore:
    store = MemoryStore()
    store.kept[ID] = Evidence(event((400, 100, 440, 220)), recorded=True, picture=True)
    store.pictures[ID] = jpeg((400, 100, 440, 220))
    return store


@pytest.fixture
def client(store: MemoryStore) -> TestClient:
    app = create_app(WebSettings(), store, clock=FakeClock())
    return TestClient(app, base_url="http://127.0.0.1:7860", raise_server_exceptions=False)


def test_a_thumbnail_over_http(client: TestClient) -> None:
    answer = client.get(f"{AT}/thumbnail.jpg")
    assert answer.status_code == 200 and answer.headers["Content-Type"] == "image/jpeg"
    assert opened(answer.content).shape == (78, 104, 3) and red(opened(answer.content))[39, 52]
    assert answer.headers["Cache-Control"] == "private, max-age=86400, immutable"
    again = client.get(f"{AT}/thumbnail.jpg", headers={"If-None-Match": answer.headers["ETag"]})
    assert (again.status_code, again.content) == (304, b"")
    wider = client.get(f"{AT}/thumbnail.jpg?width=208", headers={"If-None-Match": answer.headers["ETag"]})
    assert wider.status_code == 200 and opened(wider.content).shape == (156, 208, 3)


def test_a_size_that_nobody_needs_is_refused(client: TestClient) -> None:
    for width in ("0", "15", "641", "wide"):
        refusal = client.get(f"{AT}/thumbnail.jpg?width={width}")
        assert refusal.status_code == 422 and "width" in refusal.json()["detail"]


def test_what_is_not_there_or_no_picture_is_told_in_words(store: MemoryStore, client: TestClient) -> None:
    for broken in (b"\xff\xd8 half a pic", b""):
        store.pictures[ID] = broken
        refusal = client.get(f"{AT}/thumbnail.jpg")
        assert refusal.status_code == 404
        assert f"cannot be read: {len(broken)} bytes" in refusal.json()["detail"]
    store.pictures.clear()
    refusal = client.get(f"{AT}/thumbnail.jpg")
    assert refusal.status_code == 404 and "no picture is kept any more" in refusal.json()["detail"]
    assert refusal.headers["Cache-Control"] == "no-store"
    store.kept.clear()
    assert "there is no such event" in client.get(f"{AT}/thumbnail.jpg").json()["detail"]


async def made(thumbnails: Thumbnails, event_id: str, picture: bytes) -> bytes:
    return await thumbnails.of(event_id, picture, event(None), 16)


def test_a_frame_is_decoded_once_for_all_who_look_and_not_kept_for_ever(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cut: list[str] = []

    def count(picture: bytes, seen: Any, width: int) -> bytes:
        cut.append(picture.decode())
        return picture

    monkeypatch.setattr("web.thumbnails.thumbnail", count)
    monkeypatch.setattr("web.thumbnails._KEPT_BYTES", 2)  # each is one

    async def look() -> None:
        thumbnails = Thumbnails()
        assert await asyncio.gather(*(made(thumbnails, "a", b"a") for _ in range(5))) == [b"a"] * 5
        await made(thumbnails, "b", b"b")
        await made(thumbnails, "a", b"a")  # looked at again: b is the older one now
        await made(thumbnails, "c", b"c")
        await made(thumbnails, "a", b"a")
        await made(thumbnails, "b", b"b")

    asyncio.run(look())
    assert cut == ["a", "b", "c", "b"]
