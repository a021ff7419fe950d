"""The selftest as a command: rows of the table hold, and a real broker is left as it was."""

import json
from pathlib import Path

import paho.mqtt.client as mqtt
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from support import Mosquitto, edge_qc, wait_until


def _run(*args: object, cwd: Path) -> list[dict[str, object]]:
    done = edge_qc("selftest", "--quick", "--json", *args, cwd=cwd)
    assert done.returncode == 0, done.stdout + done.stderr
    rows: list[dict[str, object]] = json.loads(done.stdout)["rows"]
    return rows


@pytest.mark.slow
@pytest.mark.parametrize("name", ["daemon_frozen", "plc_offline", "broker_down"])
def test_a_fault_is_borne(name: str, tmp_path: Path) -> None:
    (row,) = _run("--only", name, cwd=tmp_path)
    assert (row["name"], row["status"], row["skipped"], row["broke"]) == (name, "ok", "", "")


def test_a_real_broker_is_never_stopped_and_keeps_nothing_of_ours(tmp_path: Path, broker: Mosquitto) -> None:
    config = tmp_path / "real.yaml"
    config.write_text(f"station: hall/7\nbroker: {{url: '{broker.url}', root: plant}}\n")
    stopped, left = _run("--config", config, "--only", "broker_down", "--only", "plc_offline", cwd=tmp_path)
    assert (stopped["status"], stopped["skipped"]) == ("skipped", "the broker of the config is left alone")
    assert left["status"] == "ok"
    kept: list[str] = []
    done: list[bool] = []
    client = mqtt.Client(CallbackAPIVersion.VERSION2)
    client.on_connect = lambda c, *_: c.subscribe("#", 1)
    client.on_subscribe = lambda *_: done.append(True)
    client.on_message = lambda _c, _u, message: kept.append(message.topic)
    client.connect("127.0.0.1", broker.port)
    client.loop_start()
    wait_until(lambda: done)
    client.publish("last", b"x", 1)
    wait_until(lambda: "last" in kept)  # what is retained comes before it
    client.disconnect()
    client.loop_stop()
    assert kept == ["last"]


def test_a_fault_that_is_not_in_the_table_is_a_wrong_option(tmp_path: Path) -> None:
    done = edge_qc("selftest", "--only", "gremlins", cwd=tmp_path)
    assert done.returncode == 2
    assert "gremlins: expected one of broker_down" in done.stderr
