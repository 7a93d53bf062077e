"""What the server draws into pictures, layer by layer, by looking at the pixels."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from numpy.typing import NDArray

from streamer.masks import rle_from_mask, runs_from_map
from streamer.regions import Line, Zone
from tests.fakes.numbered_camera import BOX_HW, BOX_TOP, HEIGHT, WIDTH, NumberedCamera, box_left, pixels
from tests.fakes.web_store import MemoryStore
from web.app import WebSettings, create_app
from web.burned_routes import BurnedServer
from web.colours import Bgr, colour_of, ground_of, region_of
from web.drawing import Drawer, Scene
from web.looks import LAYERS, SHOWN, layers_of
from web.problems import Refused

GREY = 110
ZONE = Zone(name="yard", points=((0.1, 0.3), (0.4, 0.3), (0.4, 0.6), (0.1, 0.6)))
LINE = Line(name="door", start=(0.9, 0.2), end=(0.9, 0.8))
POINTS = ("head", "left_shoulder", "right_shoulder", "left_hip", "right_hip")


def result(**of_object: Any) -> dict[str, Any]:
    """One person, id 7, in a source picture of 640x360, twice the size of what is drawn into."""
    one = {"id": 7, "label": "person", "score": 0.9, "box_xyxy": [400, 100, 480, 300], **of_object}
    return {"source_hw": [360, 640], "objects": [one]}


def drawn(scene: Scene, *layers: str, hw: tuple[int, int] = (180, 320)) -> NDArray[np.uint8]:
    picture = np.full((*hw, 3), GREY, np.uint8)
    Drawer().draw(picture, scene, frozenset(layers))
    return picture


def touched(picture: NDArray[np.uint8]) -> NDArray[np.bool_]:
    return np.asarray((picture != GREY).any(axis=2))


def is_near(pixel: NDArray[np.uint8], colour: Bgr, by: int = 12) -> bool:
    return bool((np.abs(pixel.astype(int) - np.array(colour)) <= by).all())


def box_of(where: NDArray[np.bool_]) -> tuple[int, int, int, int]:
    rows, columns = np.flatnonzero(where.any(axis=1)), np.flatnonzero(where.any(axis=0))
    return int(columns[0]), int(rows[0]), int(columns[-1]), int(rows[-1])


def test_the_layers_are_those_of_the_page() -> None:
    source = Path("web/static/layers.js").read_text("utf-8")
    listed = source.partition("LAYERS = [")[2].partition("]")[0]
    page = [name.strip().strip('"') for name in listed.split(",") if name.strip()]
    assert set(page) - set(LAYERS) == {"attention"} and set(LAYERS) <= set(page)
    assert 'filter((name) => name !== "ground")' in source and set(LAYERS) - SHOWN == {"ground"}
    assert layers_of("boxes, ids", overlay=True) == {"boxes", "ids"}
    assert layers_of(None, overlay=True) == SHOWN and layers_of("boxes", overlay=False) == frozenset()
    with pytest.raises(Refused, match="no layer 'heat'"):
        layers_of("boxes,heat", overlay=True)


def test_only_what_is_asked_for_is_drawn() -> None:
    mask = np.zeros((180, 320), bool)
    mask[50:150, 200:240] = True
    rle = rle_from_mask(mask)
    seen = result(mask={"size_hw": rle.size_hw, "counts": rle.counts})
    assert not touched(drawn(Scene(seen))).any()
    edge = drawn(Scene(seen), "boxes")
    assert is_near(edge[100, 200], colour_of(7)) and edge[100, 220].tolist() == [GREY] * 3
    filled = drawn(Scene(seen), "masks")
    tint = tuple(round(GREY * 0.64 + part * 0.36) for part in colour_of(7))
    assert is_near(filled[100, 220], tint) and not touched(filled)[:45].any()  # type: ignore[arg-type]
    for names, ink in (("labels",), True), (("ids",), True), (("boxes",), False):
        plate = drawn(Scene(seen), *names)[38:48, 202:206]
        assert np.asarray(plate != GREY).any() == ink, names


def test_a_trail_follows_where_the_object_stood_and_fades_into_the_past() -> None:
    path = [(100.0 + 20 * i, 300.0) for i in range(16)]  # source px: to 400 across, at the height 300
    picture = drawn(Scene(result(), trails={7: path}), "trails")
    where = touched(picture)
    left, top, right, bottom = box_of(where)
    assert (abs(left - 50), abs(right - 200)) <= (3, 3) and 146 <= top <= bottom <= 154
    change = np.abs(picture[150].astype(int) - GREY).sum(axis=1)
    assert 0 < change[60] < change[120] < change[195]
    assert not touched(drawn(Scene(result(), trails={7: path}), "boxes"))[150, 60:190].any()


def test_bones_join_key_points_that_are_seen_and_no_others() -> None:
    points = [[440, 110, 0.9], [420, 140, 0.9], [460, 140, 0.9], [425, 220, 0.9], [455, 220, 0.1]]
    seen = result(keypoints=points) | {"keypoint_names": POINTS}
    picture = drawn(Scene(seen), "skeletons")
    left_side, right_side = picture[90, 205:217], picture[90, 222:236]
    assert any(is_near(pixel, colour_of(7), 40) for pixel in left_side)  # left shoulder to left hip
    assert (right_side == GREY).all()  # the right hip was not seen
    assert picture[70, 210].min() > 200 and (picture[110, 226:230] == GREY).all()  # a white point; none there
    assert not touched(drawn(Scene(result()), "skeletons")).any()


def test_the_ground_is_tinted_by_class_and_what_was_not_seen_is_left() -> None:
    classes = np.zeros((18, 32), np.uint8)
    classes[9:], classes[:, 24:] = 1, 255
    values, counts = runs_from_map(classes)
    semantic = {
        "size_hw": (18, 32),
        "names": ["sky", "road"],
        "values": values.tolist(),
        "counts": counts.tolist(),
    }
    picture = drawn(Scene(result() | {"semantic": semantic}), "ground")
    for row, value in (40, 0), (140, 1):
        tint = [round(GREY * 0.55 + part * 0.45) for part in ground_of(value, ["sky", "road"])]
        assert is_near(picture[row, 100], (tint[0], tint[1], tint[2]), 2)
    assert (picture[:, 245:] == GREY).all()


def test_zones_and_lines_are_drawn_without_any_result() -> None:
    scene = Scene(zones=(ZONE,), lines=(LINE,))
    picture = drawn(scene, *LAYERS)
    assert is_near(picture[90, 32], region_of(0), 30) and is_near(picture[108, 100], region_of(0), 30)
    inside, outside = picture[95, 110], picture[95, 150]
    assert (inside != GREY).any() and (outside == GREY).all()
    assert is_near(picture[60, 288], region_of(1), 30)  # its own colour
    left_of, right_of = picture[80:100, 292:300], picture[80:100, 270:284]
    assert (
        np.asarray(right_of != GREY).any() and (left_of == GREY).all()
    )  # downwards: its right is the left of x
    assert not touched(drawn(scene, "boxes", "actions")).any()
    busy = drawn(Scene(zones=(ZONE,), inside={"yard": 2}), "zones")
    assert np.abs(busy[95, 110].astype(int) - GREY).sum() > np.abs(inside.astype(int) - GREY).sum()


def actions(*of: tuple[str, int | None]) -> list[dict[str, Any]]:
    return [{"name": name, "score": 0.8, "track_id": track} for name, track in of]


def test_what_somebody_does_stands_below_and_what_the_scene_does_above() -> None:
    mine = drawn(Scene(result() | {"actions": actions(("walking", 7), ("waving", 7))}), "actions")
    _, top, _, bottom = box_of(touched(mine))
    assert top >= 150 and bottom <= 168  # one plate, below the box, which ends at 150
    scene = drawn(Scene(result() | {"actions": actions(("street_crossing", None))}), "actions")
    assert touched(scene)[10:22].any() and not touched(scene)[30:].any()
    gone = drawn(Scene(result() | {"actions": actions(("walking", 8))}), "actions")
    assert not touched(gone).any()


def test_a_picture_of_any_size_is_drawn_over_at_its_edges() -> None:
    far = result(box_xyxy=[-50, -50, 700, 500], keypoints=[[-9, 400, 1.0]] * 5) | {"keypoint_names": POINTS}
    scene = Scene(far, {7: [(-30.0, 380.0), (660.0, 380.0)]}, (ZONE,), (LINE,))
    for hw in (2, 2), (90, 160), (720, 1280):
        assert drawn(scene, *LAYERS, hw=hw).shape == (*hw, 3)


async def snapshots(camera: NumberedCamera, *queries: str) -> Sequence[httpx.Response]:
    server = BurnedServer(camera)
    app = create_app(WebSettings(), MemoryStore(), burned=server)
    transport = httpx.ASGITransport(app)
    async with camera.running(), httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as http:
        found = [await http.get(f"/api/v1/streams/gate/snapshot.jpg?quality=95{query}") for query in queries]
    await server.aclose()
    return found


def test_a_snapshot_shows_the_layers_that_its_address_names() -> None:
    camera = NumberedCamera()
    camera.config = camera.config.model_copy(update={"zones": (ZONE,), "lines": (LINE,)})
    bare, zoned, trailed, wrong = asyncio.run(
        snapshots(camera, "&layers=", "&layers=zones", "&layers=trails", "&layers=boxes,heat")
    )
    assert (wrong.status_code, wrong.headers["content-type"]) == (422, "application/problem+json")
    assert "layers: no layer 'heat' — of boxes, labels" in wrong.json()["detail"]
    border = round(0.45 * HEIGHT), round(0.1 * WIDTH)
    assert is_near(pixels(bare.content)[border], (GREY, GREY, GREY), 12)
    assert "sightline-result" not in bare.headers and "sightline-result" not in zoned.headers
    blue, _, red = pixels(zoned.content)[border].astype(int)
    assert blue - red > 60 and region_of(0)[0] - region_of(0)[2] > 60  # JPEG blurs a line of one pixel
    epoch, number = map(int, trailed.headers["sightline-result"].split(":"))
    assert epoch == 1
    if number % 16 >= 2:  # it has moved to the right since the last turn
        row = pixels(trailed.content)[BOX_TOP + BOX_HW[0] - 3 : BOX_TOP + BOX_HW[0] + 3].astype(int)
        coloured = np.flatnonzero((row.max(axis=2) - row.min(axis=2)).max(axis=0) > 24)
        ends = box_left(number) + BOX_HW[1] // 2
        assert len(coloured) and coloured[0] <= ends - 16
