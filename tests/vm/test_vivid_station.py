"""The whole station and its commands at a camera of the kernel's: vivid, in the machine that run.sh boots."""

import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from support import Daemon, Listener, Mosquitto, command, wait_until
from vivid import Vivid, vivid_path

SLOW_S = 300.0  # an emulated processor
CAMERA = {"EDGE_QC_SOURCE_WIDTH_PX": "640", "EDGE_QC_SOURCE_HEIGHT_PX": "360", "EDGE_QC_SOURCE_RATE_HZ": "5"}

pytestmark = pytest.mark.skipif(vivid_path() is None, reason="no virtual camera: tests/vm/run.sh boots one")


@pytest.fixture
def vivid() -> Iterator[Vivid]:
    camera = Vivid()
    camera.reset()
    yield camera
    camera.reset()


def _edge_qc(*args: object, **environment: str) -> subprocess.CompletedProcess[str]:
    env = os.environ | CAMERA | environment
    return subprocess.run(
        command(*args), capture_output=True, text=True, timeout=SLOW_S, check=False, env=env, stdin=subprocess.DEVNULL
    )


def test_a_station_is_degraded_while_its_camera_is_gone_and_well_again_after(
    vivid: Vivid, broker: Mosquitto, tmp_path: Path
) -> None:
    options = ("--source", vivid.path, "--broker", broker.url, "--data-dir", tmp_path / "data")
    with Listener(broker.port) as heard, Daemon(tmp_path / "log", *options, **CAMERA) as daemon:
        wait_until(lambda: daemon.process.poll() is not None or len(heard.of("verdict")) > 2, SLOW_S)
        assert daemon.process.poll() is None, daemon.said
        vivid.pull()
        pulled_s = time.monotonic()
        wait_until(lambda: "camera_lost" in str(heard.of("state")[-1]), SLOW_S)
        lost_s = time.monotonic() - pulled_s
        beats = len(heard.of("heartbeat"))
        wait_until(lambda: len(heard.of("heartbeat")) > beats + 10, SLOW_S)
        vivid.put_back()
        back_s = time.monotonic()
        before = len(heard.of("verdict"))
        wait_until(lambda: "camera_lost" not in str(heard.of("state")[-1]), SLOW_S)
        returned_s = time.monotonic() - back_s
        wait_until(lambda: len(heard.of("verdict")) > before, SLOW_S)
        assert daemon.process.poll() is None
    print(f"lost told after {lost_s:.2f} s, taken up {returned_s:.2f} s after its return")
    assert lost_s < 3.0  # one second is the adapter's (tests/contract); here a model runs on an emulated processor
    assert returned_s < 5.0


def test_the_check_tells_what_the_camera_is_and_gives(vivid: Vivid, tmp_path: Path) -> None:
    done = _edge_qc("check", "--source", vivid.path, "--broker", "none:", "--data-dir", tmp_path)
    (line,) = [line for line in done.stdout.splitlines() if "camera" in line]
    print(line)
    assert line.startswith("ok")
    assert "vivid" in line
    assert "640x360 at 5 Hz" in line


def test_the_list_tells_cameras_from_other_nodes(vivid: Vivid) -> None:
    done = _edge_qc("camera", "list")
    print(done.stdout)
    assert done.returncode == 0
    assert f"{vivid.path}  vivid (vivid, platform:vivid" in done.stdout
    assert "YUYV 320x180" in done.stdout


def test_an_output_node_is_answered_with_the_one_that_captures(vivid: Vivid) -> None:
    """vivid makes both, as a UVC camera makes one for pictures and one for metadata."""
    outputs = [p.parent.name for p in Path("/sys/class/video4linux").glob("video*/name") if "vid-out" in p.read_text()]
    assert outputs
    done = _edge_qc("camera", "show", f"/dev/{outputs[0]}")
    assert done.returncode == 1
    assert "Its pictures come from" in done.stderr
    stable = done.stderr.partition("Its pictures come from ")[2].strip()
    assert Path(stable).resolve() == Path(vivid.path)


def test_a_camera_in_use_is_told_with_its_user(vivid: Vivid) -> None:
    with subprocess.Popen(["v4l2-ctl", "-d", vivid.path, "--stream-mmap"], stderr=subprocess.DEVNULL) as other:
        try:
            wait_until(lambda: "is in use" in _edge_qc("--source", vivid.path, "--broker", "none:").stderr, SLOW_S)
            done = _edge_qc("--source", vivid.path, "--broker", "none:")
        finally:
            other.kill()
    assert f"v4l2-ctl (process {other.pid}) has it" in done.stderr


def test_a_tuned_profile_is_held_by_the_next_run(vivid: Vivid, tmp_path: Path) -> None:
    vivid.change(gain_automatic=1)
    config = tmp_path / "camera.yaml"
    done = _edge_qc("camera", "tune", vivid.path, "--write", config)
    print(done.stderr, done.stdout)
    assert done.returncode == 0, done.stderr
    assert config.read_text() == done.stdout
    assert "gain:" in done.stdout
    assert "autogain: 0" in done.stdout
    check = _edge_qc("check", "--config", config, "--broker", "none:", "--data-dir", tmp_path)
    assert "ok    camera" in check.stdout, check.stdout + check.stderr
