"""Triggers over a real broker: the PLC says that a part is there, and gets its verdict under the id that it gave."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from support import PREFIX, Daemon, Listener, Mosquitto, draw_pictures, edge_qc, rows, wait_until

SIMULATOR = Path(__file__).parents[2] / "bench" / "line_simulator.py"
BY_MQTT = {"EDGE_QC_TRIGGER_KIND": "mqtt"}


def _say(plc: Listener, payload: str | bytes, *, retain: bool = False) -> None:
    plc._client.publish(PREFIX + "trigger", payload, 1, retain)


def _events(data_dir: Path) -> list[dict[str, Any]]:
    return rows(data_dir, "SELECT kind, detail FROM events WHERE kind NOT IN ('start', 'stop') ORDER BY rowid")


def test_each_trigger_gets_one_verdict_under_its_id_and_a_picture_taken_after_it(
    tmp_path: Path, broker: Mosquitto
) -> None:
    data = tmp_path / "data"
    args = ("--source", "sim:?rate=60", "--broker", broker.url, "--data-dir", data)
    with Listener(broker.port) as plc, Daemon(tmp_path / "log", *args, **BY_MQTT) as daemon:
        daemon.wait_ready()
        for i in range(8):
            _say(plc, f'{{"part": "A-{i}"}}')
            wait_until(lambda i=i: len(plc.of("verdict")) == i + 1)
        assert daemon.stop() == 0
    verdicts = plc.of("verdict")
    assert [(v["seq"], v["part"]) for v in verdicts] == [(i + 1, f"A-{i}") for i in range(8)]
    assert {v["verdict"] for v in verdicts} <= {"ok", "reject", "unsure"}  # inspected, all of them
    assert len(rows(data)) == 8
    assert _events(data) == []


def test_nonsense_and_repeats_get_their_verdicts_too_and_are_events(tmp_path: Path, broker: Mosquitto) -> None:
    data = tmp_path / "data"
    args = ("--source", "sim:?rate=60", "--broker", broker.url, "--data-dir", data)
    with Listener(broker.port) as plc:
        _say(plc, '{"part": "of yesterday"}', retain=True)
        wait_until(lambda: len(plc.heard) == 1)
        with Daemon(tmp_path / "log", *args, **BY_MQTT) as daemon:
            daemon.wait_ready()
            for payload in ("no JSON", "", '{"part": "A"}', '{"part": "A"}', b"\xff" * 5000):
                seen = len(plc.of("verdict"))
                _say(plc, payload)
                wait_until(lambda seen=seen: len(plc.of("verdict")) > seen)
            assert daemon.stop() == 0
    assert [v["part"] for v in plc.of("verdict")] == ["1", "2", "A", "A", "5"]
    kinds = [event["kind"] for event in _events(data)]
    assert set(kinds) == {"retained_trigger", "malformed_trigger", "repeated_part"}


def test_a_camera_that_gives_no_picture_costs_no_part_its_verdict_nor_the_heart_a_beat(
    tmp_path: Path, broker: Mosquitto
) -> None:
    data = tmp_path / "data"
    args = ("--source", "sim:?rate=0.01", "--broker", broker.url, "--data-dir", data)
    with Listener(broker.port) as plc, Daemon(tmp_path / "log", *args, **BY_MQTT) as daemon:
        daemon.wait_ready()
        for _ in range(3):
            _say(plc, "")
        wait_until(lambda: len(rows(data)) == 3)
        beats = len(plc.of("heartbeat"))
        wait_until(lambda: len(plc.of("heartbeat")) > beats)
        assert daemon.stop() == 0
    records = rows(data)
    assert [(r["seq"], r["reason"]) for r in records] == [(1, "no_frame"), (2, "no_frame"), (3, "no_frame")]
    sent = [r["seq"] for r in records if r["signalled"] == "sent"]  # on a starved machine one may have expired
    assert [v["seq"] for v in plc.of("reject")] == sent
    assert all(v["age_ms"] < 1000 for v in plc.of("verdict"))


@pytest.mark.parametrize(
    ("source", "broker_url", "expected"),
    [
        ("in", "mqtt://127.0.0.1:1", "expected a source that gives pictures all the time"),
        ("sim:", "none:", "trigger.kind mqtt: expected a broker"),
    ],
)
def test_what_does_not_go_with_triggers_by_mqtt_is_said_at_the_start(
    tmp_path: Path, source: str, broker_url: str, expected: str
) -> None:
    draw_pictures(tmp_path / "in", 1)
    where = tmp_path / source if source == "in" else source
    done = edge_qc("--source", where, "--broker", broker_url, "--data-dir", tmp_path / "data", **BY_MQTT)
    assert done.returncode == 2
    assert expected in done.stderr


def test_the_line_simulator_in_its_quick_form(tmp_path: Path) -> None:
    """Model, camera (beyond the deadline) and broker stall; `python bench/line_simulator.py` does 10,000 triggers."""
    run = [sys.executable, str(SIMULATOR), "--triggers", "600", "--deadline-ms", "2000", "--seed", "18"]
    done = subprocess.run(run, capture_output=True, text=True, timeout=120, check=False, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
