"""What a person sees of `edge-qc camera`, at the written camera; tests/vm shows it at the kernel's."""

from pathlib import Path

import pytest
import yaml

from edge_qc.camera_command import show_camera, tune_camera
from edge_qc.config import Config, load_config
from edge_qc.errors import CaptureError, RecordError
from edge_qc.sections import Source
from fake_v4l2 import FakeDevice, Plug

CONFIG = Config(source=Source(width_px=64, height_px=48, rate_hz=200))


class _Automatic(FakeDevice):
    """Chooses its exposure by itself until it is told not to."""

    def get(self, control: object) -> int:
        value = super().get(control)  # type: ignore[arg-type]
        if getattr(control, "name", "") == "exposure_absolute" and self._plug.values[1] == 3:
            self._plug.values[2] = value = 156
        return value


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edge_qc.camera_command.SETTLE_S", 0.3)
    monkeypatch.setattr("edge_qc.camera_command.LOOK_EVERY_S", 0.05)


def test_a_profile_is_what_the_camera_settled_at_with_its_switches_on_manual(tmp_path: Path) -> None:
    plug, said = Plug(), []
    file = tmp_path / "profile.yaml"
    text = tune_camera("/dev/video0", CONFIG, said.append, write=file, open_device=lambda _: _Automatic(plug))
    assert yaml.safe_load(text)["camera"]["controls"] == {
        "exposure_auto": 1,
        "exposure_absolute": 156,
        "gain": 0,
        "focus_absolute": 0,
    }
    assert plug.values[1] == 1
    assert any("mean" in line and "exposure_absolute 156" in line for line in said), said
    assert load_config(file=file, environment={}).camera.controls["exposure_absolute"] == 156


def test_a_file_that_is_there_is_not_written_over(tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    file.write_text("station: line1/cam1")
    with pytest.raises(RecordError, match="is there already"):
        tune_camera("/dev/video0", CONFIG, print, write=file, open_device=Plug().open)
    assert file.read_text() == "station: line1/cam1"


def test_a_camera_that_does_not_keep_what_is_set_is_told() -> None:
    plug = Plug()
    plug.stubborn = {"exposure_auto"}
    with pytest.raises(CaptureError, match="exposure_auto 1 became 3"):
        tune_camera("/dev/video0", CONFIG, lambda _: None, open_device=plug.open)


def test_a_camera_without_a_picture_is_told() -> None:
    plug = Plug()
    plug.silent = True
    with pytest.raises(CaptureError, match="gives no picture"):
        tune_camera("/dev/video0", CONFIG, lambda _: None, open_device=plug.open)


def test_its_controls_are_shown_with_range_default_and_value() -> None:
    said: list[str] = []
    show_camera("/dev/video0", said.append, open_device=Plug().open)
    (line,) = [line for line in said if "exposure_absolute" in line]
    assert line.split() == [
        "exposure_absolute", "250", "default", "250,", "3", "to", "2047,", "v4l2-ctl:", "exposure_time_absolute"
    ]  # fmt: skip
    assert any("privacy" in line and "read only" in line for line in said)
