"""What every camera and its fake must do."""

import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import cv2
import numpy as np
import pytest

from edge_qc.capture.base import Camera, EndOfSource, Shot
from edge_qc.capture.folder import FolderCamera
from edge_qc.capture.picamera import PiCamera
from edge_qc.capture.simulated import BeltCamera, SimulatedCamera
from edge_qc.capture.stream import LiveStream, PictureFile, VideoFile
from edge_qc.capture.v4l2 import V4l2Camera
from edge_qc.domain import FileStamp, Frame
from edge_qc.sections import CameraProfile, Source
from fake_picamera2 import FakePicamera2
from fake_v4l2 import Bench
from fakes import FakeCamera, FakeLedger, frame
from rtsp_server import RtspServer
from support import draw_pictures, wait_until

PARTS = 3


def _fake(_: Path) -> Camera:
    return FakeCamera(*(Shot(frame(seq=i + 1)) for i in range(PARTS)))


def _folder(tmp_path: Path) -> Camera:
    draw_pictures(tmp_path / "in", PARTS)
    return FolderCamera(tmp_path / "in", Source(), FakeLedger(), once=True)


def _simulated(_: Path) -> Camera:
    return SimulatedCamera(f"sim:?parts={PARTS}&rate=100")


def _belt(_: Path) -> Camera:
    return BeltCamera("sim:?belt=1&parts=1&rate=29")  # so quick that three pictures see it out


def _video(tmp_path: Path) -> Camera:
    writer = cv2.VideoWriter(str(tmp_path / "v.avi"), cv2.VideoWriter.fourcc(*"MJPG"), 10, (64, 48))
    for i in range(PARTS):
        writer.write(np.full((48, 64, 3), 40 * i, np.uint8))
    writer.release()
    return VideoFile(tmp_path / "v.avi")


CAMERAS = [_fake, _folder, _simulated, _belt, _video]


def _v4l2(bench: Bench) -> Camera:
    device = bench.open(bench.path)
    width, height = device.formats()["YUYV"][0].least
    device.close()
    source = Source(width_px=width, height_px=height, rate_hz=30)
    return V4l2Camera(bench.path, source, CameraProfile(), open_device=bench.open)


def _picamera(_: Bench) -> Camera:
    return PiCamera("picamera:0", Source(width_px=64, height_px=48), CameraProfile(), make=FakePicamera2)


@pytest.fixture
def rtsp() -> Iterator[RtspServer]:
    with RtspServer() as running:
        yield running


@pytest.fixture(params=["v4l2", "picamera", "rtsp"])
def live(request: pytest.FixtureRequest, bench: Bench) -> Iterator[Camera]:
    """A camera that goes on for as long as somebody reads it."""
    if request.param == "rtsp":
        made: Camera = LiveStream(request.getfixturevalue("rtsp").url)
    else:
        make = _v4l2 if request.param == "v4l2" else _picamera
        made = make(bench)
    yield made
    made.close()


def _frames(camera: Camera, count: int) -> list[Frame]:
    frames: list[Frame] = []

    def enough() -> bool:
        shot = camera.read(0.05)
        if shot is not None and shot.frame is not None:
            frames.append(shot.frame)
        return len(frames) >= count

    wait_until(enough, 60)
    return frames


def test_a_live_cameras_numbers_grow_and_its_times_never_go_back(live: Camera) -> None:
    live.open()
    frames = _frames(live, 10)
    assert [f.seq for f in frames] == sorted({f.seq for f in frames})
    assert frames[0].seq >= 1
    assert [f.captured_ns for f in frames] == sorted(f.captured_ns for f in frames)


def test_a_live_cameras_frame_is_not_from_the_future(live: Camera) -> None:
    live.open()
    for each in _frames(live, 5):
        assert each.captured_ns <= time.monotonic_ns()
        assert each.captured_at <= datetime.now(UTC)


def test_a_live_cameras_frame_stays_as_it_is(live: Camera) -> None:
    live.open()
    (first,) = _frames(live, 1)
    before = first.pixels.copy()
    _frames(live, 10)
    assert np.array_equal(first.pixels, before)


def test_a_live_camera_may_be_closed_twice_and_without_having_been_opened(live: Camera) -> None:
    live.close()
    live.open()
    _frames(live, 1)
    live.close()
    live.close()


def test_a_release_of_a_file_is_nothing_to_a_live_camera(live: Camera) -> None:
    live.open()
    live.release(FileStamp("/nowhere/x.png", 1, 1))
    _frames(live, 1)


@pytest.fixture(params=CAMERAS, ids=lambda make: make.__name__.strip("_"))
def camera(request: pytest.FixtureRequest, tmp_path: Path) -> Camera:
    make: Callable[[Path], Camera] = request.param
    return make(tmp_path)


def _read_all(camera: Camera) -> list[Shot]:
    shots: list[Shot] = []

    def ended() -> bool:
        try:
            shot = camera.read(0.05)
        except EndOfSource:
            return True
        if shot is not None:
            shots.append(shot.loaded())
        return False

    wait_until(ended)
    return shots


def test_it_gives_every_picture_once_and_then_ends(camera: Camera) -> None:
    camera.open()
    assert len(_read_all(camera)) == PARTS
    with pytest.raises(EndOfSource):
        camera.read(0.05)
    camera.close()


def test_its_frames_are_numbered_and_their_times_never_go_back(camera: Camera) -> None:
    camera.open()
    frames = [shot.frame for shot in _read_all(camera) if shot.frame is not None]
    assert [f.seq for f in frames] == list(range(1, PARTS + 1))
    assert sorted(f.captured_ns for f in frames) == [f.captured_ns for f in frames]
    camera.close()


def test_it_may_be_closed_twice_and_without_having_been_opened(camera: Camera) -> None:
    camera.close()
    camera.close()


def test_a_release_of_a_file_that_is_not_its_own_is_harmless(camera: Camera) -> None:
    camera.open()
    camera.release(FileStamp("/nowhere/x.png", 1, 1))
    camera.close()


def test_a_picture_file_gives_itself_once(tmp_path: Path) -> None:
    (path,) = draw_pictures(tmp_path, 1)
    camera = PictureFile(path)
    camera.open()
    (shot,) = _read_all(camera)
    assert shot.frame is not None
    assert shot.frame.name == path.name
