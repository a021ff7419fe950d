"""The Raspberry Pi's CSI cameras, with picamera2 written by hand: no such camera is here to be asked."""

import sys
from typing import Any

import pytest

from edge_qc.capture.picamera import PiCamera
from edge_qc.errors import CaptureError
from edge_qc.sections import CameraProfile, Source
from fake_picamera2 import FakePicamera2
from support import wait_until

SIZE = (64, 48)


class Rig:
    def __init__(self, **profile: Any) -> None:
        self.device = FakePicamera2()
        self.told: list[tuple[str, bool]] = []
        source = Source(width_px=SIZE[0], height_px=SIZE[1], rate_hz=100)
        self.camera = PiCamera(
            "picamera:", source, CameraProfile(**profile), make=lambda _: self.device,
            on_health=lambda *h: self.told.append(h),
        )  # fmt: skip


def test_the_gray_picture_is_the_first_plane_without_its_margin() -> None:
    rig = Rig()
    rig.camera.open()
    shot = rig.camera.read(1)
    assert shot is not None
    assert shot.frame is not None
    assert shot.frame.pixels.shape == (48, 64)
    assert all(request.released for request in rig.device.requests)


def test_a_profile_takes_the_controls_out_of_the_cameras_own_hands() -> None:
    rig = Rig(controls={"ExposureTime": 8000, "AnalogueGain": 2.5})
    rig.camera.open()
    controls = rig.device.configured["controls"]
    assert (controls["ExposureTime"], controls["AnalogueGain"], controls["AeEnable"]) == (8000, 2.5, False)


def test_what_the_sensor_makes_of_a_value_is_no_drift_but_another_value_is() -> None:
    rig = Rig(controls={"ExposureTime": 8000})
    rig.device.metadata = {"ExposureTime": 7990}
    rig.camera.open()
    rig.camera.read(1)
    assert rig.told == [("camera_profile", False)]
    rig.camera.close()

    rig = Rig(controls={"ExposureTime": 8000})
    rig.device.metadata = {"ExposureTime": 33_000}
    rig.camera.open()
    rig.camera.read(1)
    assert rig.told == [("camera_profile", True)]


def test_a_picture_that_is_the_last_one_again_is_no_frame() -> None:
    rig = Rig()
    rig.camera.open()
    rig.device.stuck = True
    rig.camera.read(1)
    shot = rig.camera.read(1)
    assert shot is not None
    assert shot.fault is not None
    assert shot.fault.reason == "frozen"


def test_a_camera_that_falls_silent_is_lost_and_may_come_back() -> None:
    rig = Rig(silence_ms=50)
    rig.camera.open()
    rig.camera.read(1)
    rig.device.silent = True
    wait_until(lambda: rig.camera.read(0.02) is None and rig.told == [("camera_lost", True)])
    rig.device.silent = False
    wait_until(lambda: rig.camera.read(0.02) is not None)
    assert rig.told == [("camera_lost", True), ("camera_lost", False)]


def test_a_camera_that_stays_silent_ends_the_process_that_cannot_win_it_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edge_qc.capture.picamera.GIVE_UP_S", 0.1)
    rig = Rig(silence_ms=50)
    rig.camera.open()
    rig.device.silent = True

    def given_up() -> bool:
        try:
            rig.camera.read(0.02)
        except CaptureError as error:
            return "has stopped giving pictures" in str(error)
        return False

    wait_until(given_up)


@pytest.mark.parametrize(
    ("controls", "said"),
    [
        ({"ExposureTime": 5}, "ExposureTime: expected 29 to 1000000, got 5"),
        ({"exposure_absolute": 5}, "exposure_absolute: no such control. It has AeEnable, AnalogueGain, ExposureTime"),
    ],
)
def test_a_control_that_does_not_fit_is_told(controls: dict[str, float], said: str) -> None:
    with pytest.raises(CaptureError, match=said):
        Rig(controls=controls).camera.open()


def test_a_camera_that_is_not_there_is_told() -> None:
    camera = PiCamera("picamera:1", Source(), CameraProfile(), make=FakePicamera2)
    with pytest.raises(CaptureError, match="no camera at picamera:1"):
        camera.open()


def test_a_machine_without_picamera2_is_told_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "picamera2", None)
    with pytest.raises(CaptureError, match="apt-get install python3-picamera2"):
        PiCamera("picamera:0", Source(), CameraProfile()).open()
