"""What becomes of a part's picture when a camera is pulled out, sticks, spoils a frame or changes its controls."""

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from edge_qc.capture.base import Shot
from edge_qc.capture.v4l2 import V4l2Camera
from edge_qc.errors import CaptureError
from edge_qc.sections import CameraProfile, Source
from fake_v4l2 import Bench, Plug
from support import wait_until

SLOW_S = 60.0  # the virtual machine has no KVM
Make = Callable[..., V4l2Camera]


class Told:
    """What a camera tells of itself."""

    def __init__(self) -> None:
        self.wrong: set[str] = set()
        self.events: list[tuple[str, str]] = []

    def health(self, reason: str, wrong: bool) -> None:
        (self.wrong.add if wrong else self.wrong.discard)(reason)

    def event(self, kind: str, detail: str) -> None:
        self.events.append((kind, detail))

    @property
    def kinds(self) -> list[str]:
        return [kind for kind, _ in self.events]


@pytest.fixture
def told() -> Told:
    return Told()


@pytest.fixture
def make(bench: Bench, told: Told) -> Iterator[Make]:
    made: list[V4l2Camera] = []

    def camera(*, size: tuple[int, int] | None = None, once: bool = False, **profile: Any) -> V4l2Camera:
        width, height = size or _least(bench)
        source = Source(width_px=width, height_px=height, rate_hz=200 if isinstance(bench, Plug) else 30)
        made.append(
            V4l2Camera(
                bench.path, source, CameraProfile(**profile), once=once,
                on_health=told.health, on_event=told.event, open_device=bench.open,
            )
        )  # fmt: skip
        return made[-1]

    yield camera
    for each in made:
        each.close()


def _least(bench: Bench) -> tuple[int, int]:
    device = bench.open(bench.path)
    try:
        return device.formats()["YUYV"][0].least
    finally:
        device.close()


def _shot(camera: V4l2Camera) -> Shot:
    shots: list[Shot | None] = []

    def came() -> bool:
        shots.append(camera.read(0.2))
        return shots[-1] is not None

    wait_until(came, SLOW_S)
    assert shots[-1] is not None
    return shots[-1]


def _good(camera: V4l2Camera) -> Shot:
    shots: list[Shot] = []

    def good() -> bool:
        shots.append(_shot(camera))
        return shots[-1].frame is not None

    wait_until(good, SLOW_S)
    return shots[-1]


def _read_until(camera: V4l2Camera, true: Callable[[], Any]) -> None:
    def read() -> bool:
        camera.read(0.05)
        return bool(true())

    wait_until(read, SLOW_S)


def test_unplugging_is_told_within_a_second_and_raises_nothing(bench: Bench, make: Make, told: Told) -> None:
    camera = make()
    camera.open()
    _good(camera)
    bench.pull()
    pulled_s = time.monotonic()
    _read_until(camera, lambda: "camera_lost" in told.wrong)
    assert time.monotonic() - pulled_s < 1.0
    assert camera.read(0.05) is None
    assert "camera_lost" in told.kinds


def test_a_camera_that_is_back_is_taken_up_within_five_seconds(bench: Bench, make: Make, told: Told) -> None:
    camera = make()
    camera.open()
    before = _good(camera).frame
    bench.pull()
    _read_until(camera, lambda: "camera_lost" in told.wrong)
    bench.put_back()
    back_s = time.monotonic()
    after = _good(camera).frame
    assert time.monotonic() - back_s < 5.0
    assert told.wrong == set()
    assert told.kinds[-1] == "camera_back"
    assert before is not None
    assert after is not None
    assert after.seq > before.seq
    assert after.captured_ns > before.captured_ns


def test_it_comes_back_however_often_it_goes(bench: Bench, make: Make, told: Told) -> None:
    camera = make()
    camera.open()
    for _ in range(3):
        _good(camera)
        bench.pull()
        _read_until(camera, lambda: "camera_lost" in told.wrong)
        bench.put_back()
    _good(camera)
    assert camera.counts.lost == 3


def test_a_spoiled_frame_is_dropped_and_counted(bench: Bench, make: Make) -> None:
    camera = make()
    camera.open()
    _good(camera)
    bench.spoil_next()
    _read_until(camera, lambda: camera.counts.flawed)
    assert _good(camera).frame is not None
    assert camera.counts.flawed == 1


def test_a_picture_that_is_the_last_one_again_is_no_frame(bench: Bench, make: Make) -> None:
    camera = make()
    camera.open()
    _good(camera)
    bench.freeze()
    _read_until(camera, lambda: camera.counts.frozen)
    shot = _shot(camera)
    assert shot.frame is None
    assert shot.fault is not None
    assert shot.fault.reason == "frozen"


def test_a_camera_that_falls_silent_is_lost(bench: Bench, make: Make, told: Told) -> None:
    camera = make(silence_ms=500)
    camera.open()
    _good(camera)
    bench.fall_silent()
    _read_until(camera, lambda: "camera_lost" in told.wrong)
    assert camera.counts.lost == 1


def test_a_camera_triggered_by_wire_may_be_silent(bench: Bench, make: Make, told: Told) -> None:
    camera = make(silence_ms=None)
    camera.open()
    _good(camera)
    bench.fall_silent()
    _read_until(camera, lambda: camera.read(1.2) is None)
    assert told.wrong == set()


def test_the_count_of_frames_may_begin_anew(bench: Bench, make: Make) -> None:
    bench.near_the_wrap()
    camera = make()
    camera.open()
    first, last = _good(camera).frame, None
    assert first is not None
    while last is None or last.seq < first.seq + 150:
        last = _good(camera).frame
    assert camera.counts.stale == 0


def test_a_frame_is_copied_out_of_the_drivers_memory(make: Make) -> None:
    camera = make()
    camera.open()
    frame = _good(camera).frame
    assert frame is not None
    before = frame.pixels.copy()
    for _ in range(10):
        _good(camera)
    assert (frame.pixels == before).all()


def test_a_second_user_is_told_that_the_camera_is_in_use(make: Make) -> None:
    first, second = make(), make()
    first.open()
    with pytest.raises(CaptureError, match="is in use"):
        second.open()


def test_a_size_that_it_has_not_is_answered_with_those_that_it_has(bench: Bench, make: Make) -> None:
    camera = make(size=(641, 479))
    with pytest.raises(CaptureError, match="has no size 641x479; expected .*YUYV {}x{}".format(*_least(bench))):
        camera.open()


def test_the_profile_is_set_before_the_first_frame(bench: Bench, make: Make, told: Told) -> None:
    camera = make(controls={"gain": 77})
    camera.open()
    assert _read(bench, "gain") == 77
    assert told.wrong == set()


def test_a_control_that_somebody_turns_is_told_and_put_right(bench: Bench, make: Make, told: Told) -> None:
    camera = make(controls={"gain": 77}, check_every_s=1)
    camera.open()
    bench.turn("gain", 5)
    _read_until(camera, lambda: "camera_profile" in told.wrong)
    assert [detail for kind, detail in told.events if kind == "camera_profile"] == [
        f"{bench.path}: gain: expected 77, got 5"
    ]
    _read_until(camera, lambda: not told.wrong)
    assert _read(bench, "gain") == 77


def test_every_wrong_control_is_told_with_what_would_be_right(bench: Bench, make: Make) -> None:
    camera = make(controls={"gain": 256, "gian": 1})
    with pytest.raises(CaptureError, match="gain: expected 0 to 255, got 256; gian: no such control"):
        camera.open()
    assert _read(bench, "gain") != 256


def _read(bench: Bench, name: str) -> int:
    device = bench.open(bench.path)
    try:
        return device.get(next(c for c in device.controls() if c.name == name))
    finally:
        device.close()
