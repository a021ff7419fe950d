"""Parts found in the picture: each once, however it moves, and nothing that is no part."""

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from functools import cache
from itertools import count

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_qc.capture.base import Shot
from edge_qc.capture.simulated_belt import SimulatedBelt
from edge_qc.capture.simulated_part import DrawnPart, draw_part
from edge_qc.deadline import DeadlineGuard
from edge_qc.domain import Frame, Part, Pixels, Unusable
from edge_qc.region import Region
from edge_qc.trigger.passage import Passage, Passages
from edge_qc.trigger.presence import Presence
from edge_qc.trigger.scene import Scene
from fakes import FakeCamera

WIDTH, HEIGHT = 320, 240
FRAME_NS = 33_000_000
WAIT_NS = 500_000_000
MIN_SHARE = 0.03


class Line:
    """Shows pictures to the trigger's core, thirty a second."""

    def __init__(self, *, votes: int = 1, wait_ns: int = WAIT_NS, region: Region | None = None) -> None:
        self.core = Passages(Scene(region, 20, MIN_SHARE), MIN_SHARE, votes, wait_ns)
        self.found: list[Passage] = []
        self.frames: list[Frame] = []
        self._rng = np.random.default_rng(0)
        self._now_ns = 0

    def show(self, *pictures: Pixels, every_ns: int = FRAME_NS) -> "Line":
        for pixels in pictures:
            self._now_ns += every_ns
            frame = Frame(pixels, len(self.frames) + 1, self._now_ns, datetime.now(UTC), "test")
            self.frames.append(frame)
            self.found += self.core.see(frame)
        return self

    def belt(self, *discs: tuple[float, float, float], light: float = 1.0, blur: float = 0) -> Pixels:
        """A grey belt with pale discs: x, y and radius of each, pixels."""
        picture = np.full((HEIGHT, WIDTH), 70, np.float32)
        for x, y, radius in discs:
            cv2.circle(picture, (int(x), int(y)), int(radius), 190, cv2.FILLED)
            cv2.circle(picture, (int(x), int(y)), int(radius / 2), 30, 3)
        if blur:
            picture = np.asarray(cv2.GaussianBlur(picture, (0, 0), blur), np.float32)
        picture = picture * light + self._rng.normal(0, 1.5, picture.shape)
        return np.clip(picture, 0, 255).astype(np.uint8)

    def bare(self, frames: int = 3) -> "Line":
        return self.show(*(self.belt() for _ in range(frames)))

    def pass_by(self, xs: Iterable[float], radius: float = 40) -> "Line":
        """One disc, at these places."""
        return self.show(*(self.belt((x, 120, radius)) for x in xs))


@cache
def _drawn() -> list[DrawnPart]:
    rng = np.random.default_rng(7)
    return [draw_part(rng, i % 3 == 0) for i in range(8)]


@settings(max_examples=25)
@given(st.integers(0, 2**32 - 1))
def test_as_many_parts_come_out_as_go_in(seed: int) -> None:
    """Drawn castings on a belt that starts, stops and changes its speed, in light that drifts, in a sensor's noise."""
    rng = np.random.default_rng(seed)
    wanted, side_px = int(rng.integers(1, 5)), int(rng.integers(40, 85))
    speed_px, drift = rng.uniform(3, 0.4 * side_px), rng.uniform(-0.002, 0.002)
    noise, votes = rng.uniform(0, 3), int(rng.integers(1, 4))
    lying = [(_drawn()[int(rng.integers(8))], float(rng.uniform(7, 100))) for _ in range(wanted)]
    belt = SimulatedBelt(
        rng, iter(lying), width_px=160, height_px=120, part_px=side_px, grey=float(rng.uniform(20, 100))
    )
    line = Line(votes=votes)
    travelled_px, speed, stopped, light = 0.0, speed_px, 0, 1.0
    while not belt.clear(travelled_px):
        stopped = stopped - 1 if stopped else int(rng.integers(5, 40)) * int(rng.random() < 0.02)
        speed = max(0.0, speed - speed_px / 4) if stopped else min(speed_px, speed + speed_px / 4)
        travelled_px += speed
        light = min(1.3, max(0.7, light + drift))
        line.show(belt.picture(travelled_px, light, noise))
    line.core.end()
    assert len(line.found) == wanted
    assert all(one.settled and 1 <= len(one.frames) <= votes for one in line.found)


def test_the_trigger_is_the_first_frame_in_which_the_part_lies_wholly_inside() -> None:
    line = Line().bare().pass_by(range(-40, 361, 10))
    (found,) = line.found
    inside = [f for f, x in zip(line.frames[3:], range(-40, 361, 10), strict=True) if 40 <= x <= 280]
    assert abs(found.trigger.seq - inside[0].seq) <= 1  # the reduced picture has pixels of two


def test_the_best_frame_is_the_most_central() -> None:
    line = Line().bare().pass_by(range(-40, 361, 15))
    (found,) = line.found
    assert abs(-40 + 15 * (found.frames[0].seq - 4) - WIDTH / 2) <= 15


def test_a_blurred_frame_in_the_middle_is_not_the_best() -> None:
    line = Line(votes=1).bare()
    xs = range(-40, 361, 15)
    line.show(*(line.belt((x, 120, 40), blur=4 if 145 <= x <= 165 else 0) for x in xs))
    (found,) = line.found
    assert not 145 <= -40 + 15 * (found.frames[0].seq - 4) <= 165


def test_the_middle_is_that_of_the_region_that_is_judged() -> None:
    line = Line()
    line.core = Passages(
        Scene(None, 20, MIN_SHARE), MIN_SHARE, 1, 10 * WAIT_NS, Region(x=0.5, y=0, width=0.5, height=1)
    )
    line.bare().pass_by(range(-40, 361, 15))
    (found,) = line.found
    assert abs(-40 + 15 * (found.frames[0].seq - 4) - WIDTH * 0.75) <= 15


def test_votes_are_the_best_frames_best_first() -> None:
    line = Line(votes=3).bare().pass_by(range(-40, 361, 15))
    (found,) = line.found
    off_centre = [abs(-40 + 15 * (frame.seq - 4) - WIDTH / 2) for frame in found.frames]
    assert len(off_centre) == 3
    assert max(off_centre) <= 45


def test_a_part_that_stops_and_stays_for_minutes_is_one_part() -> None:
    """The light fades meanwhile; when the part leaves, the belt under it is known, and the next part is found."""
    line = Line().bare().pass_by(range(-40, 151, 15))
    fading = (line.belt((150, 120, 40), light=1 - 0.3 * i / 100) for i in range(100))
    line.show(*fading, every_ns=2_000_000_000)
    assert len(line.found) == 1
    line.show(*(line.belt((x, 120, 40), light=0.7) for x in range(150, 361, 15)))
    line.show(*(line.belt(light=0.7) for _ in range(5)))
    assert len(line.found) == 1
    line.show(*(line.belt((x, 120, 40), light=0.7) for x in range(-40, 361, 15)))
    assert len(line.found) == 2


def test_two_parts_with_belt_between_them_are_two() -> None:
    line = Line().bare()
    line.show(*(line.belt((x, 120, 40), (x - 100, 120, 40)) for x in range(-40, 461, 10)))
    assert len(line.found) == 2


def test_two_parts_that_touch_are_one() -> None:
    line = Line().bare()
    line.show(*(line.belt((x, 120, 40), (x - 76, 120, 40)) for x in range(-40, 461, 10)))
    assert len(line.found) == 1


def test_parts_side_by_side_are_two() -> None:
    line = Line().bare()
    line.show(*(line.belt((x, 60, 35), (x - 20, 180, 35)) for x in range(-40, 391, 10)))
    assert len(line.found) == 2


def test_parts_are_settled_in_the_order_in_which_they_were_found() -> None:
    line = Line(wait_ns=10**12).bare()
    line.show(*(line.belt((x, 120, 30), (x - 90, 120, 30)) for x in range(-40, 100, 10)))
    assert len(line.found) >= 1
    line.core.end()
    assert all(one.settled for one in line.found)
    assert [one.trigger.seq for one in line.found] == sorted(one.trigger.seq for one in line.found)


def test_a_hand_that_comes_and_goes_at_the_border_is_no_part() -> None:
    line = Line().bare()
    reach = [*range(0, 80, 10), *range(80, 0, -10)]
    line.show(*(line.belt((160, y - 45, 45), (160, y - 100, 45)) for y in reach)).bare()
    assert line.found == []


def test_what_is_smaller_than_a_part_is_none() -> None:
    assert Line().bare().pass_by(range(-20, 361, 10), radius=16).found == []


@pytest.mark.parametrize("side", ["left", "right"])
def test_light_that_drifts_faster_on_one_side_is_no_part(side: str) -> None:
    line = Line().bare()
    slope = np.linspace(*((1.0, 0.3) if side == "left" else (0.3, 1.0)), WIDTH)
    for i in range(75):
        line.show(np.clip(line.belt() * (1 + 0.4 * i / 75 * slope), 0, 255).astype(np.uint8), every_ns=2 * FRAME_NS)
    assert line.found == []


def test_a_lamp_that_is_switched_on_is_no_part_and_hides_none() -> None:
    line = Line().bare()
    line.show(*(line.belt(light=1.6) for _ in range(3)))
    line.show(*(line.belt((x, 120, 40), light=1.6) for x in range(-40, 361, 15)))
    assert len(line.found) == 1


def test_a_part_that_lay_there_at_the_start_counts_once_and_leaves_no_ghost() -> None:
    line = Line().show(*(Line().belt((150, 120, 40)) for _ in range(5)))
    assert line.found == []
    line.pass_by(range(150, 361, 8)).bare(30)
    assert len(line.found) <= 1
    before = len(line.found)
    line.pass_by(range(-40, 361, 15))
    assert len(line.found) == before + 1


def test_a_part_that_is_there_while_the_light_is_out_counts_once() -> None:
    line = Line().bare().pass_by([*range(-40, 151, 15), 150, 150])
    line.show(*(np.full((HEIGHT, WIDTH), 2, np.uint8) for _ in range(20)))
    assert line.core.blind == "dark"
    line.pass_by([150, 150, *range(150, 361, 15)])
    assert (len(line.found), line.core.blind) == (1, "")


def test_a_strap_that_hangs_in_becomes_part_of_the_scene() -> None:
    line = Line().bare()
    line.show(*(line.belt((160, 0, 50)) for _ in range(30)), every_ns=1_000_000_000)
    line.show(*(line.belt((160, 0, 50), (x, 120, 40)) for x in range(-40, 361, 15)))
    assert len(line.found) == 1


def test_a_part_that_is_too_large_for_the_region_is_found_without_frames() -> None:
    region = Region(x=0.4, y=0, width=0.2, height=1)
    line = Line(region=region).bare().pass_by(range(-40, 361, 8)).bare()
    (found,) = line.found
    assert (found.settled, found.frames) == (True, ())


def test_what_passes_outside_the_region_is_no_part() -> None:
    line = Line(region=Region(x=0, y=0.5, width=1, height=0.5)).bare()
    assert line.show(*(line.belt((x, 55, 40)) for x in range(-40, 361, 15))).found == []


def test_better_frames_are_not_waited_for_for_ever() -> None:
    """It creeps: it would be in the middle long after its deadline."""
    line = Line().bare().pass_by(range(-40, 50, 15))
    line.pass_by([50 + i * 2.5 for i in range(14)])
    (found,) = line.found
    assert not found.settled
    line.core.settle(found.trigger.captured_ns + WAIT_NS)
    assert found.settled


def _shots(*pictures: Pixels) -> Iterator[Shot]:
    for seq, pixels in zip(count(1), pictures, strict=False):
        yield Shot(Frame(pixels, seq, seq * FRAME_NS, datetime.now(UTC), "test"))


class Trigger:
    """The trigger with a clock of its own."""

    def __init__(self, *shots: Shot) -> None:
        self.told: list[tuple[str, bool]] = []
        self.now_ns = 0
        core = Passages(Scene(None, 20, MIN_SHARE), MIN_SHARE, 2, WAIT_NS)
        self._trigger = Presence(
            "test", 1000, DeadlineGuard(), core, on_health=lambda *told: self.told.append(told), clock=self._tick
        )
        self._shots = shots

    def _tick(self) -> int:
        self.now_ns += FRAME_NS // 3
        return self.now_ns

    @property
    def parts(self) -> list[Part]:
        return [one for one in self._trigger.parts(FakeCamera(*self._shots)) if one is not None]


def test_parts_are_numbered_from_one_and_their_deadline_counts_from_the_trigger() -> None:
    line = Line()
    passing = [line.belt((x, 120, 40)) for x in range(-40, 361, 15)]
    bare = [line.belt() for _ in range(4)]
    parts = Trigger(*_shots(*bare, *passing, *bare, *passing, *bare, *passing)).parts
    assert [(part.seq, part.id) for part in parts] == [(1, "1"), (2, "2"), (3, "3")]
    for part in parts:
        assert part.deadline_ns - part.triggered_ns == 1_000_000_000
        assert len(part.frames) == 2
        assert all(frame.captured_ns >= part.triggered_ns for frame in part.frames)


def test_a_part_that_is_under_way_when_the_source_ends_still_comes() -> None:
    line = Line()
    pictures = [line.belt() for _ in range(3)] + [line.belt((x, 120, 40)) for x in range(-40, 70, 15)]
    assert len(Trigger(*_shots(*pictures)).parts) == 1


def test_a_part_that_never_lay_wholly_inside_says_so() -> None:
    line = Line()
    pictures = [line.belt((x, 120, 170)) for x in range(-170, 500, 20)]
    (part,) = Trigger(*_shots(line.belt(), *pictures, *(line.belt() for _ in range(4)))).parts
    assert part.fault is not None
    assert part.fault.reason == "partial"


def test_a_trigger_that_sees_nothing_makes_the_station_degraded_until_it_sees() -> None:
    line = Line()
    dark = [np.full((HEIGHT, WIDTH), 2, np.uint8)] * 200
    fault = Shot(fault=Unusable("frozen", "the camera gives the same picture again"))
    trigger = Trigger(*_shots(line.belt(), *dark), fault, *_shots(line.belt()))
    assert trigger.parts == []
    assert trigger.told == [("trigger_blind", True), ("trigger_blind", False)]


def test_a_region_that_the_picture_does_not_hold_is_told_and_stops_nothing() -> None:
    region = Region(unit="px", x=600, y=0, width=100, height=100)
    told: list[tuple[str, bool]] = []
    ticks = count(0, FRAME_NS)
    core = Passages(Scene(region, 20, MIN_SHARE), MIN_SHARE, 1, WAIT_NS)
    trigger = Presence("t", 1000, DeadlineGuard(), core, on_health=lambda *t: told.append(t), clock=lambda: next(ticks))
    assert [p for p in trigger.parts(FakeCamera(*_shots(*[Line().belt()] * 80))) if p is not None] == []
    assert told == [("trigger_blind", True)]
