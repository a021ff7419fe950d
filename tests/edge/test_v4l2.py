"""What the kernel's virtual camera cannot be made to do is done by the written one."""

import errno
import time
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_qc.capture.base import EndOfSource, Shot
from edge_qc.capture.v4l2 import V4l2Camera
from edge_qc.capture.v4l2_device import Layout
from edge_qc.capture.v4l2_format import choose_format, luma
from edge_qc.capture.v4l2_nodes import explained
from edge_qc.errors import CaptureError
from edge_qc.sections import CameraProfile, Source
from fake_v4l2 import FakeDevice, Plug, fault
from support import wait_until

SIZE = (64, 48)


def _camera(plug: Plug, *, once: bool = False, size: tuple[int, int] = SIZE, **profile: Any) -> V4l2Camera:
    source = Source(width_px=size[0], height_px=size[1], rate_hz=200)
    return V4l2Camera("/dev/video0", source, CameraProfile(**profile), once=once, open_device=plug.open)


def _shot(camera: V4l2Camera) -> Shot:
    shot = camera.read(5)
    assert shot is not None
    return shot


def _reason(shot: Shot) -> str:
    return shot.fault.reason if shot.fault else "a frame"


def test_a_capture_time_is_never_later_than_now() -> None:
    plug = Plug()
    plug.ahead_ns = 40_000_000
    camera = _camera(plug)
    camera.open()
    frame = _shot(camera).frame
    camera.close()
    assert frame is not None
    assert frame.captured_ns <= time.monotonic_ns()


def test_a_capture_time_is_the_kernels() -> None:
    plug = Plug()
    plug.ahead_ns = -250_000_000
    camera = _camera(plug)
    camera.open()
    frame = _shot(camera).frame
    camera.close()
    assert frame is not None
    assert time.monotonic_ns() - frame.captured_ns > 250_000_000


def test_a_frame_with_an_old_number_is_not_fresh() -> None:
    plug = Plug()
    camera = _camera(plug)
    camera.open()
    _shot(camera)
    plug.change(sequence_step=0)
    shots = [_shot(camera) for _ in range(3)]
    camera.close()
    assert _reason(shots[-1]) == "stale_frame"
    assert camera.counts.stale > 0


def test_a_frame_whose_time_goes_back_is_not_fresh() -> None:
    plug = Plug()
    camera = _camera(plug)
    camera.open()
    _shot(camera)
    plug.change(ahead_ns=-10_000_000_000)
    assert "stale_frame" in [_reason(_shot(camera)) for _ in range(2)]
    camera.close()


def test_frames_that_never_came_are_counted() -> None:
    plug = Plug()
    camera = _camera(plug)
    camera.open()
    first = _shot(camera).frame
    plug.change(sequence_step=3)
    while not camera.counts.missed:
        last = _shot(camera).frame
    camera.close()
    assert first is not None
    assert last is not None
    assert camera.counts.missed == 2
    assert last.seq - first.seq == camera.counts.frames - 1 + 2


def test_the_frame_that_comes_back_with_a_camera_is_not_fresh_if_it_is_the_last_one() -> None:
    plug = Plug()
    camera = _camera(plug)
    camera.open()
    plug.freeze()
    _shot(camera)
    plug.pull()
    wait_until(lambda: camera.read(0.01) is None)
    plug.put_back()
    shots: list[Shot | None] = []
    wait_until(lambda: shots.append(camera.read(0.1)) or shots[-1])
    camera.close()
    assert shots[-1] is not None
    assert _reason(shots[-1]) == "frozen"


def test_once_gives_one_frame() -> None:
    camera = _camera(Plug(), once=True)
    camera.open()
    assert _shot(camera).frame is not None
    with pytest.raises(EndOfSource):
        camera.read(0.1)
    camera.close()


@pytest.mark.parametrize(
    ("formats", "rates", "chosen"),
    [
        (("MJPG", "YUYV", "GREY"), {}, "GREY"),
        (("MJPG", "YUYV"), {}, "YUYV"),
        (("MJPG", "YUYV"), {"YUYV": 10.0}, "MJPG"),
        (("MJPG", "YUYV"), {"YUYV": 60.0, "MJPG": 120.0}, "MJPG"),
        (("BA81", "YUYV"), {"YUYV": 10.0}, "YUYV"),
    ],
    ids=["no colour at all", "no JPEG", "unless it is too slow", "the less slow one", "what can be read"],
)
def test_the_format_is_the_one_that_is_soonest_a_gray_picture(
    formats: tuple[str, ...], rates: dict[str, float], chosen: str
) -> None:
    plug = Plug(dict.fromkeys(formats, (SIZE,)))
    plug.rates = rates
    source = Source(width_px=SIZE[0], height_px=SIZE[1], rate_hz=200)
    assert choose_format(FakeDevice(plug), "/dev/video0", source) == chosen


def test_a_camera_without_a_format_that_can_be_read_says_what_it_has() -> None:
    camera = _camera(Plug({"BA81": (SIZE,), "H264": (SIZE,)}))
    with pytest.raises(CaptureError, match=r"expected one of GREY.*got BA81, H264"):
        camera.open()


def test_a_size_that_is_not_granted_is_told() -> None:
    plug = Plug()
    plug.granted_size = (32, 32)
    with pytest.raises(CaptureError, match="expected YUYV 64x48; got YUYV 32x32"):
        _camera(plug).open()
    assert plug.busy is None, "the camera was not given back"


def test_a_node_for_metadata_is_told_from_a_camera() -> None:
    plug = Plug()
    plug.captures = False
    with pytest.raises(CaptureError, match="expected a capturing video device; got another node of Fake camera"):
        _camera(plug).open()


def test_a_profile_that_the_camera_does_not_keep_is_told_at_the_start() -> None:
    plug, wrong = Plug(), []
    plug.stubborn = {"gain"}
    source = Source(width_px=SIZE[0], height_px=SIZE[1])
    camera = V4l2Camera(
        "/dev/video0", source, CameraProfile(controls={"gain": 9}), on_health=lambda *h: wrong.append(h),
        open_device=plug.open,
    )  # fmt: skip
    camera.open()
    camera.close()
    assert wrong == [("camera_profile", True)]


def test_switches_to_manual_are_set_before_the_values_that_they_hold() -> None:
    plug, order = Plug(), []

    class Noting(FakeDevice):
        def set(self, control: Any, value: int) -> None:
            order.append(control.name)
            super().set(control, value)

    source = Source(width_px=SIZE[0], height_px=SIZE[1])
    profile = CameraProfile(controls={"exposure_time_absolute": 100, "gain": 4, "exposure_auto": 1})
    camera = V4l2Camera("/dev/video0", source, profile, open_device=lambda _: Noting(plug))
    camera.open()
    camera.close()
    assert order == ["exposure_auto", "exposure_absolute", "gain"]


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("exposure_absolute", 2, "exposure_absolute: expected 3 to 2047, got 2"),
        ("focus_absolute", 7, "focus_absolute: expected 0 to 250 in steps of 5, got 7"),
        ("exposure_auto", 2, r"exposure_auto: expected 1 \(Manual Mode\), 3 \(Aperture Priority Mode\), got 2"),
        ("gain", 1.5, "gain: expected 0 to 255, got 1.5"),
        ("privacy", 1, "privacy: can only be read"),
        ("zoom", 1, "zoom: no such control"),
    ],
)
def test_a_control_out_of_its_range_is_told_with_the_range(name: str, value: float, said: str) -> None:
    with pytest.raises(CaptureError, match=said):
        _camera(Plug(), controls={name: value}).open()


@pytest.mark.parametrize(
    ("number", "said"),
    [
        (errno.EBUSY, "is in use"),
        (errno.ENOENT, "no camera at"),
        (errno.EACCES, "Add the user to the group `video`"),
        (errno.ENOTTY, "is no camera"),
        (errno.EIO, "cannot be used"),
    ],
)
def test_the_kernels_numbers_become_words(number: int, said: str) -> None:
    assert said in str(explained(fault(number), "/dev/video9"))


@given(
    st.sampled_from(["GREY", "NV12", "YUYV", "UYVY"]), st.integers(1, 40), st.integers(1, 20), st.integers(0, 24),
    st.integers(0, 2**32 - 1),
)  # fmt: skip
def test_the_gray_picture_is_found_in_every_layout(name: str, width: int, height: int, gap: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    pixels = rng.integers(0, 256, (height, width), np.uint8)
    sample = 2 if name in ("YUYV", "UYVY") else 1
    buffer = rng.integers(0, 256, (height, sample * width + gap), np.uint8)
    buffer[:, (name == "UYVY") : sample * width : sample] = pixels
    layout = Layout(name, width, height, sample * width + gap, 30)
    found = luma(layout, memoryview(buffer.tobytes()))
    assert found is not None
    assert np.array_equal(found, pixels)
    assert luma(layout, memoryview(buffer.tobytes())[: height * (sample * width + gap) - gap - 1]) is None


def test_a_jpeg_is_decoded_to_gray_and_a_cut_one_is_none() -> None:
    encoded = cv2.imencode(".jpg", np.full((48, 64, 3), (10, 200, 90), np.uint8))[1].tobytes()
    layout = Layout("MJPG", 64, 48, 0, 30)
    found = luma(layout, memoryview(encoded))
    assert found is not None
    assert found.shape == (48, 64)
    assert abs(int(found.mean()) - 145) <= 2, "BT.601 luma"
    assert luma(layout, memoryview(encoded[:200])) is None
