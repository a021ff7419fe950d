"""`edge-qc capture`: pictures for training, each once, whole, and never over another."""

import re
import shutil
import threading
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from edge_qc import capture_command
from edge_qc.capture.simulated_belt import SimulatedBelt
from edge_qc.capture.simulated_part import draw_part
from edge_qc.capture_command import Captured, capture, summary
from edge_qc.config import Config
from edge_qc.errors import ConfigError, RecordError, SignalError
from edge_qc.sections import Broker, Line, Record, Source, Trigger
from support import Listener, Mosquitto, draw_pictures, edge_qc, wait_until

NAME = re.compile(r"\d{8}T\d{6}\.\d{3}Z-\d{6}\.png")


def _config(uri: str = "sim:?parts=4&rate=100", *, floor_mb: int = 0, **sections: object) -> Config:
    return Config.model_validate({"source": Source(uri=uri), "record": Record(free_floor_mb=floor_mb), **sections})


def _run(config: Config, out: Path, *, parts: int | None = None, every_s: float = 0) -> Captured:
    return capture(config, out, parts=parts, every_s=every_s, stop=threading.Event())


def test_each_part_is_a_picture_named_by_its_time_and_number(tmp_path: Path) -> None:
    done = _run(_config(), tmp_path / "new" / "out")
    files = sorted((tmp_path / "new" / "out").iterdir())
    assert done.written == len(files) == 4
    assert all(NAME.fullmatch(file.name) for file in files)
    assert [file.stem[-6:] for file in files] == ["000001", "000002", "000003", "000004"]
    assert all(cv2.imread(str(file), 0).shape == (300, 300) for file in files)


def test_the_pictures_are_those_that_the_camera_gave(tmp_path: Path) -> None:
    given = draw_pictures(tmp_path / "in", 1)[0]
    _run(_config(str(given)), tmp_path / "out")
    (written,) = (tmp_path / "out").iterdir()
    assert (cv2.imread(str(written), 0) == cv2.imread(str(given), 0)).all()


def test_it_ends_after_as_many_as_were_asked_for(tmp_path: Path) -> None:
    done = _run(_config("sim:?rate=200"), tmp_path, parts=3)
    assert (done.written, done.why_ended) == (3, "3 pictures were asked for")


def test_it_takes_at_most_one_in_the_time_that_was_asked_for(tmp_path: Path) -> None:
    assert _run(_config("sim:?parts=40&rate=200"), tmp_path, every_s=3600).written == 1


def test_it_ends_when_it_is_told_to(tmp_path: Path) -> None:
    stop = threading.Event()
    stop.set()
    done = capture(_config("sim:?rate=200"), tmp_path, parts=None, every_s=0, stop=stop)
    assert done.why_ended == "told to stop"


def test_no_picture_is_ever_overwritten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two runs that give the same names: a clock that was set back."""
    monkeypatch.setattr(capture_command, "_name", lambda _part, _frame: "20260131T081542.117Z-000001")
    for _ in range(2):
        _run(_config("sim:?parts=1&rate=100"), tmp_path)
    assert sorted(file.name for file in tmp_path.iterdir()) == [
        "20260131T081542.117Z-000001.1.png",
        "20260131T081542.117Z-000001.png",
    ]


def test_it_stops_before_the_disk_is_full(tmp_path: Path) -> None:
    free_mb = shutil.disk_usage(tmp_path).free // 1_000_000
    done = _run(_config(floor_mb=min(free_mb + 1000, 10_000_000)), tmp_path)
    assert done.written == 0
    assert "record.free_floor_mb" in done.why_ended
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_made_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(RecordError, match="file/out cannot be written"):
        _run(_config(), tmp_path / "file" / "out")


def test_a_part_without_a_picture_is_counted(tmp_path: Path) -> None:
    (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    done = _run(_config(str(tmp_path / "broken.png")), tmp_path / "out")
    assert (done.written, done.without_picture) == (0, 1)
    assert "1 parts gave no picture" in summary(done, tmp_path)


def test_presence_gives_one_picture_of_each_part_on_the_belt(tmp_path: Path) -> None:
    slow = Line(deadline_ms=60_000)  # as long as a busy machine may take to a part's middle
    config = _config("sim:?belt=1&parts=3&rate=4&seed=4", trigger=Trigger(kind="presence"), line=slow)
    assert _run(config, tmp_path).written == 3
    for file in tmp_path.iterdir():
        picture = cv2.imread(str(file), 0)
        assert picture.shape == (480, 640)
        assert picture[60:420, 140:500].std() > picture[:, :60].std()  # the part is in the middle, the belt beside it


def test_presence_finds_the_parts_of_a_film(tmp_path: Path) -> None:
    """A film from the line, to try the settings on: as fast as it can be read."""
    rng = np.random.default_rng(2)
    belt = SimulatedBelt(rng, iter([(draw_part(rng, False), 60.0) for _ in range(4)]))
    film = cv2.VideoWriter(str(tmp_path / "line.avi"), cv2.VideoWriter.fourcc(*"MJPG"), 30, (640, 480), isColor=False)
    travelled_px = 0
    while not belt.clear(travelled_px):
        film.write(belt.picture(travelled_px))
        travelled_px += 60
    film.release()
    config = _config(str(tmp_path / "line.avi"), trigger=Trigger(kind="presence"), line=Line(deadline_ms=60_000))
    assert _run(config, tmp_path / "out").written == 4


def test_triggers_over_mqtt_are_heard(tmp_path: Path, broker: Mosquitto) -> None:
    config = _config("sim:?rate=100", trigger=Trigger(kind="mqtt"), broker=Broker(url=broker.url))
    stop, done = threading.Event(), SimpleNamespace(written=None)

    def run() -> None:
        done.written = capture(config, tmp_path / "out", parts=2, every_s=0, stop=stop).written

    thread = threading.Thread(target=run)
    with Listener(broker.port) as plc:
        thread.start()

        def triggered() -> bool:
            plc.say("trigger", {})
            return not thread.is_alive()

        wait_until(triggered)
        stop.set()
        thread.join(5)
    assert done.written == 2


def test_triggers_over_mqtt_need_a_broker_that_a_plc_is_on(tmp_path: Path) -> None:
    config = _config("sim:?rate=100", trigger=Trigger(kind="mqtt"), broker=Broker(url="embedded:"))
    with pytest.raises(SignalError, match=r"no broker to hear triggers from.*embedded:"):
        _run(config, tmp_path)


@pytest.mark.parametrize("kind", ["presence", "gpio", "mqtt"])
def test_a_watch_folder_goes_with_no_trigger_but_every_frame(tmp_path: Path, kind: str) -> None:
    with pytest.raises(ConfigError, match=rf"trigger.kind {kind}: expected a source that gives pictures all the time"):
        _run(_config(str(tmp_path), trigger=Trigger.model_validate({"kind": kind})), tmp_path / "out")


def test_the_command_says_how_many_where_and_what_next(tmp_path: Path) -> None:
    done = edge_qc("capture", "--source", "sim:?rate=50", "--out", "pictures", "--parts", "2", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "2 pictures in pictures" in done.stdout
    assert "edge-qc-train fit pictures" in done.stdout
    assert len(list((tmp_path / "pictures").glob("*.png"))) == 2
