"""Events, crowds and look-alikes of the street: they happen, and the truth says so when and where they do."""

from __future__ import annotations

from collections import Counter

import cv2
import numpy as np
import pytest

from streamer.world import ACTIONS, EVENTS, SEMANTIC, Truth, World, WorldConfig
from streamer.world.render import truth_line
from streamer.world.truth import PERSON
from tests.unit.test_world import check

DOWN = {ACTIONS.index("fall"), ACTIONS.index("lie")}


def eventful(seed: int) -> World:
    config = WorldConfig(
        seed=seed, height=108, width=192, people=10, vehicles=3, shake=0.0, hour=12, events=1.0
    )
    return World(config)


@pytest.fixture(scope="module")
def lived() -> list[tuple[World, list[Truth]]]:
    """Three streets, every second frame of 24 s."""
    out = []
    for seed in (1, 2, 3):
        world, truths = eventful(seed), []
        for _ in range(150):
            truths.append(world.step()[1])
            world.skip(1)
        out.append((world, truths))
    return out


def test_every_event_happens_and_lasts(lived: list[tuple[World, list[Truth]]]) -> None:
    frames = Counter(e.kind for _, truths in lived for t in truths for e in t.events)
    assert set(frames) == set(EVENTS)
    assert min(frames.values()) > 15, frames
    for _, truths in lived:
        for truth in truths:
            keys = [(e.kind, e.id) for e in truth.events]
            assert len(set(keys)) == len(keys)
            for e in truth.events:
                assert e.start_frame <= truth.frame
                x0, y0, x1, y1 = e.box_xyxy
                assert 0 <= x0 < x1 <= 192 and 0 <= y0 < y1 <= 108


def test_a_fall_is_the_time_from_the_first_stumble_until_one_gets_up(
    lived: list[tuple[World, list[Truth]]],
) -> None:
    checked = 0
    for _, truths in lived:
        action_at = {
            (t.frame, i): a for t in truths for i, a in zip(t.ids.tolist(), t.actions.tolist(), strict=True)
        }
        for truth in truths:
            fallen = {e.id: e for e in truth.events if e.kind == "fall"}
            for row, who in enumerate(truth.ids.tolist()):
                assert (who in fallen) == (int(truth.actions[row]) in DOWN)
                if who in fallen:
                    assert fallen[who].box_xyxy == tuple(truth.boxes_xyxy[row].tolist())
                    began = fallen[who].start_frame
                    if (began - 2, who) in action_at and (began + 2, who) in action_at:
                        assert action_at[began - 2, who] not in DOWN
                        assert action_at[began + 2, who] in DOWN
                        checked += 1
    assert checked > 30


def test_an_intruder_stands_on_the_forbidden_ground_and_nobody_else_does(
    lived: list[tuple[World, list[Truth]]],
) -> None:
    inside = 0
    for _, truths in lived:
        for truth in truths:
            polygon = truth.forbidden_xy
            assert polygon.shape == (4, 2) and polygon.dtype == np.float32
            intruders = {e.id for e in truth.events if e.kind == "intrusion"}
            upright = (truth.labels == PERSON) & np.isin(truth.actions, [a for a in range(8)])
            for row in np.flatnonzero(upright).tolist():
                x, y = truth.keypoints[row, 11:13, :2].mean(0).tolist()
                depth_px = cv2.pointPolygonTest(polygon, (x, y), True)
                if int(truth.ids[row]) in intruders:
                    inside += 1
                    assert depth_px > -4
                elif truth.keypoints[row, 0, 1] > 0:
                    # the ankles are a hand above the ground, so they may reach over the near edge of the ground
                    assert depth_px < 4
    assert inside > 10


def test_the_forbidden_ground_is_marked_where_the_polygon_lies() -> None:
    shares = []
    for seed in (1, 2, 3, 4):
        config = WorldConfig(seed=seed, height=216, width=384, people=0, vehicles=0, shake=0.0, events=1.0)
        _, truth = World(config).step()
        mask = np.zeros((216, 384), np.uint8)
        cv2.fillPoly(mask, [np.rint(truth.forbidden_xy).astype(np.int32)], 1)
        inner = cv2.erode(mask, np.ones((3, 3), np.uint8)) > 0
        marked = truth.semantic == SEMANTIC.index("marking")
        if inner.sum() > 60:
            shares.append(marked[inner].mean())
            around = (
                cv2.dilate(mask, np.ones((9, 9), np.uint8)) - cv2.dilate(mask, np.ones((5, 5), np.uint8))
            ) > 0
            assert marked[around].mean() < 0.25
    assert len(shares) >= 3 and np.median(shares) > 0.5 and max(shares) > 0.7


def test_a_wrong_way_car_drives_against_its_lane(lived: list[tuple[World, list[Truth]]]) -> None:
    seen = 0
    for seed in (2, 3):
        world = eventful(seed)
        last: dict[int, float] = {}
        for _ in range(300):
            world.skip(1)
            middle = world.layout.road_m / 2
            against = {
                a.id for a in world.traffic.agents()
                if a.label in (1, 2) and not a.parked and (a.direction > 0) != (a.z < middle)
            }  # fmt: skip
            told = {thing.id for kind, _, thing in world.happenings.going_on() if kind == "wrong_way"}  # type: ignore[union-attr]
            assert told == against
            for a in world.traffic.agents():
                if a.id in told:
                    seen += 1
                    assert (a.x - last.get(a.id, a.x)) * (1 if a.z > middle else -1) >= 0
                    last[a.id] = a.x
    assert seen > 30


def test_a_left_bag_stays_where_it_is_as_furniture(lived: list[tuple[World, list[Truth]]]) -> None:
    bags: dict[tuple[int, int, int | None], list[tuple[float, ...]]] = {}
    furniture = []
    for number, (_, truths) in enumerate(lived):
        for truth in truths:
            for e in truth.events:
                if e.kind != "left_bag":
                    continue
                bags.setdefault((number, e.start_frame, e.id), []).append(e.box_xyxy)
                x0, y0, x1, y1 = (round(v) for v in e.box_xyxy)
                furniture.append((truth.semantic[y0:y1, x0:x1] == SEMANTIC.index("furniture")).mean())
                owner = np.flatnonzero(truth.ids == e.id)
                if len(owner) and e.start_frame == truth.frame:
                    feet = truth.keypoints[owner[0], 11:13, 0].mean()
                    assert abs(feet - (e.box_xyxy[0] + e.box_xyxy[2]) / 2) > 2
    assert len(bags) >= 2
    assert all(len(set(places)) == 1 for places in bags.values())
    assert np.median(furniture) > 0.5


def test_a_street_without_events_still_has_falls_and_nothing_else() -> None:
    kinds = set()
    for seed in (1, 2):
        world = World(WorldConfig(seed=seed, height=48, width=80))
        for _ in range(60):
            world.skip(3)
            _, truth = world.step()
            kinds |= {e.kind for e in truth.events}
            assert truth.forbidden_xy.shape == (0, 2)
    assert kinds == {"fall"}


def test_events_are_one_history_too_and_are_written_down() -> None:
    drawn, skipping = eventful(2), eventful(2)
    for _ in range(90):
        _, a = drawn.step()
    skipping.skip(89)
    _, b = skipping.step()
    assert a.events and a.events == b.events and np.array_equal(a.forbidden_xy, b.forbidden_xy)
    line = truth_line(a)
    assert [(e["kind"], e["start_frame"], e["id"]) for e in line["events"]] == [
        (e.kind, e.start_frame, e.id) for e in a.events
    ]
    assert np.allclose(line["forbidden"], a.forbidden_xy, atol=0.01)


# ------------------------------------------------------------------------------------------------------ crowds


def test_a_crowd_walks_in_groups_and_its_truth_is_what_the_pixels_show() -> None:
    world = World(WorldConfig(seed=6, height=96, width=160, people=60))
    apart, followers = [], 0
    for _ in range(6):
        world.skip(15)
        picture, truth = world.step()
        check(picture, truth, 96, 160, crumbs_px=120)
        for p in world.traffic.people:
            if p.leader is not None:
                followers += 1
                apart.append(np.hypot(p.x - p.leader.x, p.z - p.leader.z))
    assert (truth.labels == PERSON).sum() > 25
    assert followers > 30
    assert np.median(apart) < 1.6


def test_in_a_crowd_people_are_hidden_for_seconds_and_come_back() -> None:
    gaps = []
    for seed in (5, 7):
        world = World(WorldConfig(seed=seed, height=48, width=80, people=20, vehicles=4))
        last: dict[int, int] = {}
        for _ in range(70):
            world.skip(2)
            _, truth = world.step()
            for who, seen in zip(truth.ids.tolist(), truth.visibility.tolist(), strict=True):
                if seen > 0.3:
                    if who in last and truth.frame - last[who] > 25:
                        gaps.append(truth.frame - last[who])
                    last[who] = truth.frame
    assert len(gaps) >= 3


def test_people_come_out_of_doors_and_go_in() -> None:
    world = World(WorldConfig(seed=5, height=48, width=80, people=30))
    known: set[int] = set()
    came, people = 0, world.traffic.people
    went: set[int] = set()
    for frame in range(300):
        world.skip(1)
        low, high = world.layout.span(world.layout.facade_z)
        now = world.traffic.people
        came += sum(low + 1 < p.x < high - 1 for p in now if p.id not in known and frame)
        known |= {p.id for p in now}
        went |= {p.id for p in people if p.gone and low < p.x < high and p.step.act == "leave"}
        people = now
    assert world.layout.doors_x and came >= 2 and len(went) >= 2


@pytest.mark.parametrize(("share", "least", "most"), [(0.0, 0.0, 0.15), (0.5, 0.25, 0.75), (1.0, 1.0, 1.0)])
def test_lookalikes_share_their_clothes_and_not_their_bodies(share: float, least: float, most: float) -> None:
    world = World(WorldConfig(seed=5, height=48, width=80, people=40, lookalikes=share))
    looks = [p.look for p in world.traffic.people]
    clothes = Counter((k.top, k.bottom, k.hat, k.skirt, k.short_sleeves) for k in looks)
    assert least <= clothes.most_common(1)[0][1] / len(looks) <= most
    assert len({k.height for k in looks}) > 30


def test_lookalikes_change_nothing_but_clothes() -> None:
    plain, same = (World(WorldConfig(seed=4, height=48, width=80, lookalikes=s)) for s in (0.0, 1.0))
    for _ in range(5):
        plain.skip(7)
        same.skip(7)
        (a, _), (b, _) = plain.step(), same.step()
        lives = [[(p.id, p.x, p.z, p.action) for p in world.traffic.agents()] for world in (plain, same)]
        assert lives[0] == lives[1]
        assert not np.array_equal(a, b)
