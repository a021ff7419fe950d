"""What an operator does to a running station, from outside: real daemon, real broker (docs/operating.md)."""

import json
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from edge_qc.bundle import SHIPPED, load_bundle, write_bundle
from edge_qc.domain import Event
from edge_qc.installed import InstalledBundles
from edge_qc.record.store import Store
from support import PREFIX, Daemon, Listener, Mosquitto, draw_pictures, rows, wait_until


class Station:
    """A daemon, and an operator that talks to it."""

    def __init__(self, folder: Path, broker: Mosquitto, operator: Listener, *args: object, **environment: str) -> None:
        self.data, self.operator, self.broker = folder / "data", operator, broker
        run = ("--broker", broker.url, "--data-dir", self.data, *args)
        self.daemon = Daemon(folder / "log", *run, **environment)

    def start(self) -> None:
        self.daemon.wait_ready()
        wait_until(lambda: self.operator.of("state") and self.operator.of("state")[-1]["state"] != "offline")

    def command(self, id_: str, name: str, **said: Any) -> dict[str, Any]:
        """Says it and waits for the answer."""
        self.operator.say("command", {"id": id_, "command": name, **said})
        wait_until(lambda: self.answers(id_))
        return self.answers(id_)[0]

    def answers(self, id_: str) -> list[dict[str, Any]]:
        return [answer for answer in self.operator.of("response") if answer["id"] == id_]

    def events(self, kind: str) -> list[str]:
        found = rows(self.data, "SELECT kind, detail FROM events ORDER BY id")
        return [row["detail"] for row in found if row["kind"] == kind]

    def wait_events(self, kind: str, text: str) -> None:
        wait_until(lambda: [detail for detail in self.events(kind) if text in detail])

    def wait_reasons(self, *reasons: str) -> None:
        wait_until(lambda: self.operator.of("state")[-1]["reasons"] == list(reasons))

    def install(self, version: str, folder: Path) -> str:
        """Installs the bundle that ships with another version; its id."""
        shipped = load_bundle(SHIPPED)
        card = shipped.card.model_copy(update={"version": version})
        write_bundle(folder / version, card, shipped.model, "# the same, with another version\n")
        return InstalledBundles(self.data).install(folder / version).card.id


@pytest.fixture(scope="module")
def station(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Station]:
    """On a simulated line of bad parts, with an alarm, on a broker that has kept an old command."""
    folder = tmp_path_factory.mktemp("operating")
    limit = {"EDGE_QC_ALARMS_REJECTS_IN_ROW": "3"}
    with Mosquitto(folder, "allow_anonymous true") as broker, Listener(broker.port) as operator:
        old = json.dumps({"id": "old", "command": "pause"})
        operator._client.publish(PREFIX + "command", old, 1, retain=True).wait_for_publish(5)
        running = Station(folder, broker, operator, "--source", "sim:?rate=30&defect_rate=1", **limit)
        with running.daemon:
            running.start()
            yield running


def test_a_retained_command_is_refused_and_not_done(station: Station) -> None:
    wait_until(lambda: station.answers("old"))
    assert station.answers("old")[0]["ok"] is False
    station.wait_events("command_refused", "old: a retained command")
    assert not [detail for detail in station.events("command") if detail.startswith("old")]


def test_rejects_in_a_row_degrade_the_station(station: Station) -> None:
    station.wait_reasons("rejects_in_row")
    station.wait_events("alarm", "rejects_in_row: 3 rejects in a row")


def test_in_a_pause_each_part_has_its_verdict_and_the_heart_beats(station: Station) -> None:
    operator = station.operator
    assert station.command("a1", "pause")["ok"]
    station.wait_reasons("paused", "rejects_in_row")
    seen, beats = len(operator.of("verdict")), len(operator.of("heartbeat"))
    wait_until(lambda: len(operator.of("verdict")) > seen + 10 and len(operator.of("heartbeat")) > beats + 2)
    assert station.command("a2", "resume")["ok"]
    station.wait_reasons("rejects_in_row")
    wait_until(lambda: operator.of("verdict")[-1]["reason"] != "paused")
    said = operator.of("verdict")
    assert [v["seq"] for v in said] == list(range(said[0]["seq"], said[0]["seq"] + len(said)))
    paused = [v for v in said if v["reason"] == "paused"]
    assert len(paused) >= 10
    assert {v["verdict"] for v in paused} == {"not_inspected"}
    station.wait_events("command", "a1: pause: ")
    station.wait_events("command", "a2: resume: ")


def test_reload_takes_the_installed_bundle_between_two_parts_and_loses_none(station: Station, tmp_path: Path) -> None:
    operator = station.operator
    old, first = operator.of("state")[-1]["model"], operator.of("verdict")[-1]["seq"]
    new = station.install("9.9.9", tmp_path)
    answer = station.command("r1", "reload")
    assert answer == {"id": "r1", "ok": True, "command": "reload", "message": f"from {old} to {new}"}
    wait_until(lambda: operator.of("state")[-1]["model"] == new)
    station.wait_events("model_changed", f"from {old} to {new}")
    wait_until(lambda: len([row for row in rows(station.data) if row["model"] == new]) > 5)
    records = [row for row in rows(station.data) if row["seq"] >= first]
    assert [r["seq"] for r in records] == list(range(first, first + len(records)))
    models = [r["model"] for r in records]
    assert models == [old] * models.count(old) + [new] * models.count(new)
    assert not [r for r in records if r["verdict"] == "not_inspected"]


def test_a_bundle_whose_sums_do_not_hold_is_refused_and_the_old_one_goes_on(station: Station, tmp_path: Path) -> None:
    operator, changes = station.operator, station.events("model_changed")
    installed = station.install("9.9.8", tmp_path)
    (station.data / "models" / installed / "MODEL_CARD.md").write_text("tampered with")
    answer = station.command("r2", "reload")
    assert not answer["ok"]
    assert "is not the file the bundle was made with" in answer["message"]
    judged = len(operator.of("verdict"))
    wait_until(lambda: len(operator.of("verdict")) > judged + 3)
    assert operator.of("verdict")[-1]["verdict"] != "not_inspected"
    station.wait_events("command_refused", "r2: reload: ")
    assert station.events("model_changed") == changes


def test_a_message_of_a_megabyte_does_not_reach_the_station_and_the_next_one_does(station: Station) -> None:
    for name in ("command", "ack", "trigger"):
        station.operator._client.publish(PREFIX + name, b"x" * 1_000_000, 1)
    assert station.command("m1", "resume")["ok"]
    assert not [answer for answer in station.operator.of("response") if answer["id"] is None]
    assert station.daemon.said.count("connected to") == 1


def test_a_failed_challenge_outlives_a_restart_and_a_passed_one_ends_it(tmp_path: Path, broker: Mosquitto) -> None:
    """The record before the start: a challenge was passed three days ago, and one failed since."""
    store = Store(tmp_path / "data")
    passed = Event("challenge_passed", "", datetime.now(UTC) - timedelta(days=3))
    failed = Event("challenge_failed", "", datetime.now(UTC) - timedelta(days=2))
    store.write([], [("0ld0ld00", passed), ("0ld0ld00", failed)], [])
    store.close()
    _, bad = draw_pictures(tmp_path / "drawn", 2)
    (tmp_path / "in").mkdir()
    with Listener(broker.port) as operator:
        shift = {"EDGE_QC_CHALLENGE_EVERY_H": "8"}
        station = Station(tmp_path, broker, operator, "--source", tmp_path / "in", **shift)
        with station.daemon:
            station.start()
            station.wait_reasons("challenge_due", "challenge_failed")
            assert station.command("c1", "challenge", expect="reject", within_s=600)["ok"]
            shutil.move(bad, tmp_path / "in")
            station.wait_reasons()
            station.wait_events("challenge_passed", f"command c1: part {bad.name} ")
    assert len(station.events("challenge_due")) == 1
