"""The main job, from outside: pictures in, verdicts out, everything on record (CONTRACT.md)."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from support import WAIT_S, Daemon, Listener, Mosquitto, draw_pictures, edge_qc, huge_png, rows, wait_until

VERDICT_KEYS = {
    "session", "seq", "part", "verdict", "reason", "label", "score", "captured_at", "decided_at", "age_ms", "model",
}  # fmt: skip


def test_every_picture_of_a_folder_gets_one_verdict_one_record_and_one_result(
    tmp_path: Path, broker: Mosquitto
) -> None:
    names = [p.name for p in draw_pictures(tmp_path / "in", 30)]
    with Listener(broker.port) as plc:
        done = edge_qc("--source", tmp_path / "in", "--once", "--broker", broker.url, "--data-dir", tmp_path / "data")
        assert done.returncode == 0, done.stderr
        wait_until(lambda: len(plc.of("result")) == 30)
    verdicts, records = plc.of("verdict"), rows(tmp_path / "data")
    assert [v["part"] for v in verdicts] == names  # oldest first
    assert [v["seq"] for v in verdicts] == list(range(1, 31))
    assert [r["seq"] for r in records] == [r["seq"] for r in plc.of("result")] == list(range(1, 31))
    assert [r["verdict"] for r in records] == [v["verdict"] for v in verdicts]
    assert {r["signalled"] for r in records} == {"sent"}
    assert done.stdout == ""


def test_the_reject_topic_carries_the_rejected_parts_and_no_other(tmp_path: Path, broker: Mosquitto) -> None:
    draw_pictures(tmp_path / "in", 12)
    with Listener(broker.port) as plc:
        edge_qc("--source", tmp_path / "in", "--once", "--broker", broker.url, "--data-dir", tmp_path / "data")
        wait_until(lambda: len(plc.of("result")) == 12)
    removed = [v for v in plc.of("verdict") if v["verdict"] != "ok"]
    assert plc.of("reject") == removed
    assert 0 < len(removed) < 12


def test_payloads_are_flat_small_and_never_retained(tmp_path: Path, broker: Mosquitto) -> None:
    draw_pictures(tmp_path / "in", 2)
    with Listener(broker.port) as plc:
        edge_qc("--source", tmp_path / "in", "--once", "--broker", broker.url, "--data-dir", tmp_path / "data")
        wait_until(lambda: len(plc.of("result")) == 2)
    live = [(topic, payload, properties) for topic, payload, _, properties in plc.heard if topic.endswith("verdict")]
    for _, payload, properties in live:
        assert set(json.loads(payload)) == VERDICT_KEYS
        assert len(payload) <= 512
        assert properties.MessageExpiryInterval <= 1
    with Listener(broker.port) as later:
        wait_until(lambda: later.of("state"))
    assert [topic.rpartition("/")[2] for topic, _, _, _ in later.heard] == ["state"]
    assert later.of("state")[0]["state"] == "offline"


def test_what_is_no_picture_is_set_aside_with_its_reason_and_the_next_is_inspected(
    tmp_path: Path, broker: Mosquitto
) -> None:
    folder = tmp_path / "in"
    good = draw_pictures(folder, 2)
    (folder / "empty.png").touch()
    (folder / "huge.png").write_bytes(huge_png())
    (folder / "notes.txt").write_text("no picture")
    (folder / "cut.png").write_bytes(good[0].read_bytes()[:4000])
    with Listener(broker.port) as plc:
        done = edge_qc("--source", folder, "--once", "--broker", broker.url, "--data-dir", tmp_path / "data")
        wait_until(lambda: len(plc.of("result")) == 6)
    assert done.returncode == 0
    bad = {"empty.png", "notes.txt", "cut.png", "huge.png"}
    assert {v["part"] for v in plc.of("verdict") if v["verdict"] == "not_inspected"} == bad
    assert {v["reason"] for v in plc.of("reject") if v["part"] in bad} == {"unreadable"}
    assert {p.name for p in (folder / "rejected-files").iterdir()} == bad | {"reasons.txt"}
    reasons = (folder / "rejected-files" / "reasons.txt").read_text()
    assert all(name in reasons for name in bad)
    assert {p.name for p in folder.iterdir() if p.is_file()} == {p.name for p in good}


def test_started_again_it_goes_on_where_it_was(tmp_path: Path) -> None:
    folder, data = tmp_path / "in", tmp_path / "data"
    draw_pictures(folder, 3)
    run = ("--source", folder, "--once", "--broker", "none:", "--data-dir", data)
    edge_qc(*run)
    edge_qc(*run)
    assert len(rows(data)) == 3
    shutil.copyfile(folder / "part-0000.png", folder / "new.png")
    edge_qc(*run)
    assert [r["part"] for r in rows(data)][3:] == ["new.png"]
    assert {r["signalled"] for r in rows(data)} == {"offline"}


def test_a_file_that_is_moved_in_while_it_runs_is_judged_at_once(tmp_path: Path, broker: Mosquitto) -> None:
    (tmp_path / "in").mkdir()
    (picture,) = draw_pictures(tmp_path / "elsewhere", 1)
    with (
        Listener(broker.port) as plc,
        Daemon(
            tmp_path / "log", "--source", tmp_path / "in", "--broker", broker.url, "--data-dir", tmp_path / "data"
        ) as d,
    ):
        d.wait_ready()
        picture.rename(tmp_path / "in" / "a.png")
        wait_until(lambda: plc.of("verdict"))
        assert d.stop() == 0
        wait_until(lambda: [s["state"] for s in plc.of("state")][-1:] == ["offline"])
    assert plc.of("verdict")[0]["part"] == "a.png"
    assert [s["state"] for s in plc.of("state")][-2:] == ["online", "offline"]


def test_a_dead_station_leaves_its_will(tmp_path: Path, broker: Mosquitto) -> None:
    args = ("--source", "sim:?rate=20", "--broker", broker.url, "--data-dir", tmp_path / "data")
    with Listener(broker.port) as plc, Daemon(tmp_path / "log", *args) as daemon:
        daemon.wait_ready()
        wait_until(lambda: plc.of("heartbeat") and plc.of("verdict"))
        daemon.process.kill()
        wait_until(lambda: [s["state"] for s in plc.of("state")][-1:] == ["offline"])
    assert plc.of("state")[-1]["reasons"] == ["connection_lost"]


def test_the_heartbeat_beats_five_times_a_second(tmp_path: Path, broker: Mosquitto) -> None:
    (tmp_path / "in").mkdir()
    args = ("--source", tmp_path / "in", "--broker", broker.url, "--data-dir", tmp_path / "data")
    with Listener(broker.port) as plc, Daemon(tmp_path / "log", *args):
        wait_until(lambda: plc.of("heartbeat"))
        began_s, before = time.monotonic(), len(plc.of("heartbeat"))
        wait_until(lambda: len(plc.of("heartbeat")) >= before + 15)
        took_s = time.monotonic() - began_s
    assert 2.0 < took_s < 5.0


def test_a_broker_that_is_down_does_not_stop_inspection_and_gets_the_records_later(tmp_path: Path) -> None:
    broker = Mosquitto(tmp_path, "allow_anonymous true")
    data = tmp_path / "data"
    source = ("--source", "sim:?rate=20", "--broker", broker.url, "--data-dir", data)
    with Daemon(tmp_path / "log", *source) as daemon:
        daemon.wait_ready()
        wait_until(lambda: len(rows(data)) >= 5)
        assert {r["signalled"] for r in rows(data)} == {"offline"}
        with broker, Listener(broker.port) as plc:
            wait_until(lambda: plc.of("verdict"))
            wait_until(lambda: plc.of("result"))
            first_live = plc.of("verdict")[0]["seq"]
            wait_until(lambda: first_live in {r["seq"] for r in plc.of("result")})
            assert daemon.stop() == 0
    results = list(dict.fromkeys(r["seq"] for r in plc.of("result")))
    # In order and without a gap. The station may be quicker with the broker than the listener: what went before it
    # heard anything was struck off at the broker's acknowledgement.
    assert results == list(range(results[0], results[-1] + 1))
    waiting = {json.loads(row["payload"])["seq"] for row in rows(data, "SELECT * FROM outbox")}
    assert {row["seq"] for row in rows(data)} <= waiting | set(range(1, results[-1] + 1))
    assert not waiting & set(results[:-1])
    assert first_live > 5  # no verdict from the time without a broker was sent late
    assert "no connection to the broker" in daemon.said


def test_once_without_a_broker_says_that_records_wait(tmp_path: Path) -> None:
    draw_pictures(tmp_path / "in", 1)
    url = "mqtt://127.0.0.1:1"
    done = edge_qc("--source", tmp_path / "in", "--once", "--broker", url, "--data-dir", tmp_path / "data")
    assert done.returncode == 1
    assert "1 records wait in the outbox" in done.stderr
    assert len(rows(tmp_path / "data")) == 1


def test_a_password_is_read_from_its_file(tmp_path: Path) -> None:
    passwords = tmp_path / "passwords"
    subprocess.run(["mosquitto_passwd", "-c", "-b", passwords, "cam1", "s3cret"], check=True)
    (tmp_path / "secret").write_text("s3cret\n")
    draw_pictures(tmp_path / "in", 1)
    with Mosquitto(tmp_path, "allow_anonymous false", f"password_file {passwords}") as broker:
        url = broker.url.replace("//", "//cam1@")
        run = ("--source", tmp_path / "in", "--once", "--broker", url, "--data-dir", tmp_path / "data")
        done = edge_qc(*run, EDGE_QC_BROKER_PASSWORD_FILE=str(tmp_path / "secret"))
        assert done.returncode == 0, done.stderr
        assert "s3cret" not in done.stderr
        assert rows(tmp_path / "data")[0]["signalled"] == "sent"


def test_json_logs_are_json_lines(tmp_path: Path) -> None:
    draw_pictures(tmp_path / "in", 1)
    run = ("--source", tmp_path / "in", "--once", "--broker", "none:", "--data-dir", tmp_path / "data")
    done = edge_qc(*run, "--log-format", "json")
    lines = [json.loads(line) for line in done.stderr.splitlines() if line.startswith("{")]
    part = next(line for line in lines if line.get("part") == "part-0000.png")
    (row,) = rows(tmp_path / "data")
    assert (part["verdict"], part["level"]) == (row["verdict"], "info")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_it_cleanly(tmp_path: Path, number: signal.Signals) -> None:
    args = ("--source", "sim:?rate=20", "--broker", "none:", "--data-dir", tmp_path / "data")
    with Daemon(tmp_path / "log", *args) as daemon:
        daemon.wait_ready()
        wait_until(lambda: rows(tmp_path / "data"))
        daemon.process.send_signal(number)
        assert daemon.process.wait(WAIT_S) == 0
    assert [e["kind"] for e in rows(tmp_path / "data", "SELECT kind FROM events")] == ["start", "stop"]


def test_killed_at_any_time_every_acknowledged_record_is_there(tmp_path: Path, broker: Mosquitto) -> None:
    data = tmp_path / "data"
    args = ("--source", "sim:?rate=60", "--broker", broker.url, "--data-dir", data)
    with Listener(broker.port) as plc:
        for _ in range(2):
            with Daemon(tmp_path / "log", *args) as daemon:
                before = len(plc.of("result"))
                wait_until(lambda before=before: len(plc.of("result")) > before + 10)
                daemon.process.kill()
        wait_until(lambda: [s["state"] for s in plc.of("state")][-1:] == ["offline"])
    recorded = {(r["session"], r["seq"]) for r in rows(data)}
    assert {(r["session"], r["seq"]) for r in plc.of("result")} <= recorded
    assert rows(data, "PRAGMA integrity_check") == [{"integrity_check": "ok"}]


def test_the_embedded_broker_serves_a_station_over_mqtt_3(tmp_path: Path) -> None:
    draw_pictures(tmp_path / "in", 3)
    done = edge_qc("--source", tmp_path / "in", "--once", "--broker", "embedded:", "--data-dir", tmp_path / "data")
    assert done.returncode == 0, done.stderr
    assert "MQTT 3.1.1" in done.stderr
    assert {r["signalled"] for r in rows(tmp_path / "data")} == {"sent"}


def test_a_name_that_is_no_utf8_is_inspected_like_any_other(tmp_path: Path, broker: Mosquitto) -> None:
    (picture,) = draw_pictures(tmp_path / "in", 1)
    picture.rename(picture.with_name(os.fsdecode(b"caf\xe9.png")))
    run = ("--source", tmp_path / "in", "--once", "--broker", broker.url, "--data-dir", tmp_path / "data")
    with Listener(broker.port) as plc:
        assert [edge_qc(*run).returncode for _ in range(2)] == [0, 0]
        wait_until(lambda: plc.of("result"))
    assert [v["part"] for v in plc.of("verdict")] == ["caf?.png"]


def test_two_stations_do_not_share_a_data_folder(tmp_path: Path) -> None:
    args = ("--source", "sim:", "--broker", "none:", "--data-dir", tmp_path / "data")
    with Daemon(tmp_path / "log", *args) as daemon:
        daemon.wait_ready()
        second = edge_qc(*args, "--once")
    assert second.returncode == 1
    assert "is in use" in second.stderr


def test_a_thread_that_dies_stops_the_station_so_that_it_is_started_anew(tmp_path: Path) -> None:
    """A file in the way of the pictures' folder is a fault of the disk; a broken evidence writer is one of ours."""
    program = (
        "import sys; from edge_qc.record.evidence import Evidence; Evidence.keep = lambda *_: 1 / 0;"
        "from edge_qc.cli import main; main(sys.argv[1:])"
    )
    args = ("--source", "sim:?rate=50", "--broker", "none:", "--data-dir", str(tmp_path / "data"))
    done = subprocess.run(
        [sys.executable, "-c", program, *args], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 1
    assert "thread recorder died" in done.stderr


def test_a_plc_that_stops_acknowledging_is_an_event(tmp_path: Path, broker: Mosquitto) -> None:
    data = tmp_path / "data"
    args = ("--source", "sim:?rate=10", "--broker", broker.url, "--data-dir", data)
    with Listener(broker.port) as plc, Daemon(tmp_path / "log", *args):
        wait_until(lambda: plc.of("verdict"))
        first = plc.of("verdict")[0]
        plc.say("ack", {"session": first["session"], "seq": first["seq"]})
        wait_until(lambda: rows(data, "SELECT * FROM events WHERE kind = 'ack_missing'"))
    (event,) = rows(data, "SELECT * FROM events WHERE kind = 'ack_missing'")
    assert f"part {first['seq'] + 1} " in event["detail"]


def test_history_as_table_csv_and_json_says_the_same(tmp_path: Path) -> None:
    draw_pictures(tmp_path / "in", 3)
    data = ("--data-dir", tmp_path / "data")
    edge_qc("--source", tmp_path / "in", "--once", "--broker", "none:", *data)
    table = edge_qc("history", *data).stdout
    names = [json.loads(line)["part"] for line in edge_qc("history", *data, "--format", "json").stdout.splitlines()]
    csv = edge_qc("history", *data, "--format", "csv", "--limit", "1").stdout.splitlines()
    assert names == ["part-0000.png", "part-0001.png", "part-0002.png"]
    assert all(name in table for name in names)
    assert len(csv) == 2
    assert csv[0].startswith("session,seq,part,source,")
    assert "part-0002.png" in csv[1]


@pytest.mark.parametrize(
    ("args", "status", "said"),
    [
        (("--source", "/dev/video-none"), 1, "no camera at"),
        (("--source", "/none/at/all"), 1, "cannot be opened"),
        (("--source", "sim:?parst=1"), 1, "parts"),
        (("--model", "/none"), 1, "no bundle at"),
        (("--broker", "http://x"), 2, "broker.url"),
        (("--colour",), 2, "no such option"),
        (("--config", "/none.yaml"), 2, "cannot be read"),
        (("history", "--since", "yesterday"), 2, "2026-01-31T08:00:00Z"),
    ],
)
def test_what_cannot_work_is_said_with_its_exit_status(
    tmp_path: Path, args: tuple[str, ...], status: int, said: str
) -> None:
    done = edge_qc(*args, cwd=tmp_path, EDGE_QC_BROKER="none:")
    assert (done.returncode, done.stdout) == (status, "")
    assert said in done.stderr.lower() or said in done.stderr


def test_a_record_that_the_broker_refuses_stays_in_the_outbox_and_is_said(tmp_path: Path) -> None:
    rules = tmp_path / "acl"
    rules.write_text("topic readwrite edge-qc/line1/cam1/verdict\ntopic readwrite edge-qc/line1/cam1/state\n")
    rules.chmod(0o600)
    draw_pictures(tmp_path / "in", 2)
    data = tmp_path / "data"
    with Mosquitto(tmp_path, "allow_anonymous true", f"acl_file {rules}") as broker:
        done = edge_qc("--source", tmp_path / "in", "--once", "--broker", broker.url, "--data-dir", data)
    assert done.returncode == 1
    assert "2 records wait in the outbox" in done.stderr
    assert done.stderr.count("does not take our messages") == 1
    assert len(rows(data, "SELECT * FROM outbox")) == 2
    assert rows(data, "SELECT kind FROM events WHERE kind = 'refused'")


def test_the_late_will_of_a_session_that_died_is_corrected(tmp_path: Path, broker: Mosquitto) -> None:
    args = ("--source", "sim:", "--broker", broker.url, "--data-dir", tmp_path / "data")
    with Listener(broker.port) as plc, Daemon(tmp_path / "log", *args) as daemon:
        daemon.wait_ready()
        wait_until(lambda: [s["state"] for s in plc.of("state")][-1:] == ["online"])
        plc.say("state", {"state": "offline", "session": "00000000", "reasons": ["connection_lost"], "model": "x"})
        wait_until(lambda: [s["state"] for s in plc.of("state")][-2:] == ["offline", "online"])


def test_a_password_file_that_vanishes_does_not_end_the_station(tmp_path: Path) -> None:
    broker = Mosquitto(tmp_path, "allow_anonymous true")
    (tmp_path / "secret").write_text("s3cret\n")
    args = (
        "--source",
        "sim:?rate=20",
        "--broker",
        broker.url.replace("//", "//cam1@"),
        "--data-dir",
        tmp_path / "data",
    )
    broker.start()
    secret = str(tmp_path / "secret")
    with Daemon(tmp_path / "log", *args, EDGE_QC_BROKER_PASSWORD_FILE=secret) as daemon, Listener(broker.port) as plc:
        daemon.wait_ready()
        wait_until(lambda: plc.of("verdict"))
        (tmp_path / "secret").unlink()
        broker.stop()
        wait_until(lambda: "password_file" in daemon.said)
        assert daemon.stop() == 0
