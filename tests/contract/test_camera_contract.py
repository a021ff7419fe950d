"""What every camera and its fake must do."""

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from edge_qc.capture.base import Camera, EndOfSource, Shot
from edge_qc.capture.folder import FolderCamera
from edge_qc.capture.simulated import SimulatedCamera
from edge_qc.capture.stream import PictureFile, VideoFile
from edge_qc.domain import FileStamp
from edge_qc.sections import Source
from fakes import FakeCamera, FakeLedger, frame
from support import draw_pictures, wait_until

PARTS = 3


def _fake(_: Path) -> Camera:
    return FakeCamera(*(Shot(frame(seq=i + 1)) for i in range(PARTS)))


def _folder(tmp_path: Path) -> Camera:
    draw_pictures(tmp_path / "in", PARTS)
    return FolderCamera(tmp_path / "in", Source(), FakeLedger(), once=True)


def _simulated(_: Path) -> Camera:
    return SimulatedCamera(f"sim:?parts={PARTS}&rate=100")


def _video(tmp_path: Path) -> Camera:
    writer = cv2.VideoWriter(str(tmp_path / "v.avi"), cv2.VideoWriter.fourcc(*"MJPG"), 10, (64, 48))
    for i in range(PARTS):
        writer.write(np.full((48, 64, 3), 40 * i, np.uint8))
    writer.release()
    return VideoFile(tmp_path / "v.avi")


CAMERAS = [_fake, _folder, _simulated, _video]


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
            shots.append(shot)
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
