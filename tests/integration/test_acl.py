"""The access list that ships, on a real Mosquitto with passwords: each its own topics, and no other's."""

import queue
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Self

import paho.mqtt.client as mqtt
import pytest
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from edge_qc.sections import Broker
from edge_qc.signal.link import Link, Message
from edge_qc.virtual_plc import VirtualPlc
from support import WAIT_S, Daemon, Listener, Mosquitto, draw_pictures, edge_qc, free_port, rows, wait_until

ACL = Path(__file__).parents[2] / "deploy" / "mosquitto-edge-qc.acl"
STATION, OTHER_STATION, ONE_LEVEL = "line1/cam1", "line1/cam2", "cam9"
USERS = (STATION, OTHER_STATION, ONE_LEVEL, "plc", "operator", "mes", "stranger")
NAMES = ("verdict", "reject", "state", "heartbeat", "result", "response", "trigger", "ack", "command")
TOPICS = {f"edge-qc/{station}/{name}" for station in (STATION, OTHER_STATION, ONE_LEVEL) for name in NAMES}
ELSEWHERE = {"edge-qc", "edge-qc/line1", "edge-qc/plc/verdict", "elsewhere", "spBv1.0/edge-qc/NDATA/line1-cam1"}
FROM_STATION = {"verdict", "reject", "state", "heartbeat", "result", "response"}
TO_STATION = {"trigger", "ack", "command", "state"}


def _of(station: str, names: set[str]) -> set[str]:
    return {f"edge-qc/{station}/{name}" for name in names}


MAY_WRITE = {
    STATION: _of(STATION, FROM_STATION),
    OTHER_STATION: _of(OTHER_STATION, FROM_STATION),
    ONE_LEVEL: _of(ONE_LEVEL, FROM_STATION),
    "plc": _of(STATION, {"trigger", "ack"}) | {"edge-qc/plc/verdict"},  # the last is a station that nobody is
    "operator": {topic for topic in TOPICS if topic.endswith("/command")},
    "mes": set(),
    "stranger": set(),
}
MAY_READ = {
    STATION: _of(STATION, TO_STATION),
    OTHER_STATION: _of(OTHER_STATION, TO_STATION),
    ONE_LEVEL: _of(ONE_LEVEL, TO_STATION),
    "plc": _of(STATION, {"verdict", "reject", "state", "heartbeat"}),
    "operator": TOPICS | {t for t in ELSEWHERE if t.startswith("edge-qc")},
    "mes": {topic for topic in TOPICS if topic.endswith("/result")},
    "stranger": set(),
}


def _password(user: str) -> str:
    return f"secret of {user}"


class Guarded:
    """A broker with the shipped access list, and a listener without, whose users see and say all."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.open_port = folder, free_port()
        passwords = folder / "passwd"
        passwords.touch()
        for user in USERS:
            run = ["mosquitto_passwd", "-b", str(passwords), user, f"secret of {user}"]
            subprocess.run(run, check=True, capture_output=True)
            self.password_file(user).write_text(f"secret of {user}\n")
        self.broker = Mosquitto(
            folder,
            "per_listener_settings true",
            "allow_anonymous false",
            f"password_file {passwords}",
            f"acl_file {ACL}",
            f"listener {self.open_port} 127.0.0.1",
            "allow_anonymous true",
        )
        self.port, self.url = self.broker.port, self.broker.url

    def password_file(self, user: str) -> Path:
        return self.folder / user.replace("/", "-")

    def settings(self, user: str) -> Broker:
        return Broker(url=self.url, username=user, password_file=self.password_file(user))

    def environment(self, user: str) -> dict[str, str]:
        return {"EDGE_QC_BROKER_USERNAME": user, "EDGE_QC_BROKER_PASSWORD_FILE": str(self.password_file(user))}


class Client:
    """A client that asks for everything, and keeps what it is given."""

    def __init__(self, port: int, user: str | None = None) -> None:
        self.heard: list[str] = []
        self._taken: queue.Queue[tuple[int, bool]] = queue.Queue()
        self._subscribed: queue.Queue[bool] = queue.Queue()
        self._client = mqtt.Client(CallbackAPIVersion.VERSION2, protocol=MQTTProtocolVersion.MQTTv5)
        if user is not None:
            self._client.username_pw_set(user, f"secret of {user}")
        self._client.on_publish = lambda _c, _u, mid, reason, _p: self._taken.put((mid, not reason.is_failure))
        self._client.on_subscribe = lambda *_: self._subscribed.put(True)
        self._client.on_message = lambda _c, _u, message: self.heard.append(message.topic)
        self._client.connect("127.0.0.1", port)

    def subscribe(self) -> None:
        """To all and to each. When the broker has answered, what it had for us before has come."""
        self._client.subscribe([("#", 1), *((topic, 1) for topic in sorted(TOPICS | ELSEWHERE))])
        self._subscribed.get(timeout=WAIT_S)

    def publish_all(self) -> set[str]:
        """Publishes on every topic; returns those that the broker took."""
        sent = {self._client.publish(topic, b"{}", 1).mid: topic for topic in sorted(TOPICS | ELSEWHERE)}
        answers = dict(self._taken.get(timeout=WAIT_S) for _ in sent)
        return {topic for mid, topic in sent.items() if answers[mid]}

    def __enter__(self) -> Self:
        self._client.loop_start()
        return self

    def __exit__(self, *_: object) -> None:
        self._client.disconnect()
        self._client.loop_stop()


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    guarded = Guarded(tmp_path_factory.mktemp("acl"))
    with guarded.broker:
        yield guarded


@pytest.mark.parametrize("user", USERS)
def test_a_client_is_heard_on_its_own_topics_alone(guarded: Guarded, user: str) -> None:
    with Client(guarded.open_port) as observer, Client(guarded.port, user) as client:
        observer.subscribe()
        assert client.publish_all() == MAY_WRITE[user], "MQTT 5 says which it did not take"
        observer.subscribe()
        wait_until(lambda: set(observer.heard) >= MAY_WRITE[user])
        assert set(observer.heard) == MAY_WRITE[user]


@pytest.mark.parametrize("user", USERS)
def test_a_client_hears_its_own_topics_alone(guarded: Guarded, user: str) -> None:
    with Client(guarded.open_port) as everybody, Client(guarded.port, user) as client:
        client.subscribe()
        assert everybody.publish_all() == TOPICS | ELSEWHERE
        client.subscribe()
        # The broker answers while more than twenty are on their way, for want of an acknowledgement of the first.
        wait_until(lambda: set(client.heard) >= MAY_READ[user])
        assert set(client.heard) == MAY_READ[user]


@pytest.mark.parametrize("user", [None, "nobody"])
def test_without_a_password_nobody_comes_in(guarded: Guarded, user: str | None) -> None:
    with Client(guarded.port, user) as client, pytest.raises(queue.Empty):
        client._subscribed.get(timeout=0.5)
    environment = {} if user is None else {"EDGE_QC_BROKER_USERNAME": user}
    done = edge_qc("check", "--source", "sim:", "--broker", guarded.url, **environment)
    assert done.returncode == 1
    assert "Not authorized" in done.stdout


def test_a_station_delivers_and_a_plc_acknowledges(guarded: Guarded, tmp_path: Path) -> None:
    draw_pictures(tmp_path / "in", 4)
    with (
        Listener(guarded.open_port) as observer,
        Listener(guarded.port, lambda c: c.username_pw_set("mes", "secret of mes")) as mes,
        VirtualPlc(guarded.settings("plc"), STATION, window_ms=5000) as plc,
    ):
        assert plc.wait_connected(WAIT_S)
        run = ("--source", tmp_path / "in", "--once", "--broker", guarded.url, "--data-dir", tmp_path / "data")
        done = edge_qc(*run, **guarded.environment(STATION))
        assert done.returncode == 0, done.stderr
        assert "does not take our messages" not in done.stderr
        assert plc.wait_for(lambda counts: counts.settled == 4, WAIT_S), plc.counts()
        assert (plc.counts().acted, plc.counts().rejected) == (4, 2)
        wait_until(lambda: len(observer.of("ack")) == len(mes.of("result")) == 4)
        assert [said["seq"] for said in mes.of("result")] == [1, 2, 3, 4]
        assert observer.of("heartbeat")
        assert observer.of("state")[-1]["state"] == "offline"
        assert not mes.of("verdict")
    assert {row["signalled"] for row in rows(tmp_path / "data")} == {"sent"}
    assert not rows(tmp_path / "data", "SELECT * FROM outbox"), "every record was struck off at its PUBACK"
    assert not rows(tmp_path / "data", "SELECT * FROM events WHERE kind IN ('refused', 'ack_missing')")


def test_a_station_with_another_ones_password_is_told_so(guarded: Guarded, tmp_path: Path) -> None:
    """Its Will is for a topic that is not its own, which is reason enough for Mosquitto not to let it in."""
    draw_pictures(tmp_path / "in", 1)
    run = ("--source", tmp_path / "in", "--once", "--broker", guarded.url, "--data-dir", tmp_path / "data")
    with Listener(guarded.open_port) as observer:
        done = edge_qc(*run, **guarded.environment(OTHER_STATION))
        assert done.returncode == 1, done.stderr
        assert not observer.of("verdict")
    assert "Not authorized" in done.stderr
    assert len(rows(tmp_path / "data", "SELECT * FROM outbox")) == 1, "the record waits"


def test_an_operator_commands_a_station_and_reads_the_answer_and_a_plc_can_do_neither(
    guarded: Guarded, tmp_path: Path
) -> None:
    run = ("--source", "sim:?rate=20", "--broker", guarded.url, "--data-dir", tmp_path / "data")
    with (
        Listener(guarded.port, lambda c: c.username_pw_set("operator", "secret of operator")) as operator,
        Listener(guarded.port, lambda c: c.username_pw_set("plc", "secret of plc")) as plc,
        Daemon(tmp_path / "log", *run, **guarded.environment(STATION)),
    ):
        wait_until(lambda: operator.of("state") and operator.of("state")[-1]["state"] == "online")
        plc.say("command", {"id": "of-plc", "command": "pause"})
        plc.say("ack", {"session": "00000000", "seq": 1})
        wait_until(lambda: operator.of("ack"))  # by now the broker has dropped what came before it
        operator.say("command", {"id": "of-operator", "command": "resume"})
        wait_until(lambda: operator.of("response"))
        assert [(a["id"], a["ok"]) for a in operator.of("response")] == [("of-operator", True)]
        wait_until(lambda: plc.of("verdict"))
        assert not plc.of("response")


def test_a_plc_that_may_not_acknowledge_says_so(guarded: Guarded, caplog: pytest.LogCaptureFixture) -> None:
    link = Link(guarded.settings("plc"), "plc-of-another", on_refused=(refusals := []).append)
    link.start()
    try:
        assert link.wait_connected(WAIT_S)
        link.publish(Message(f"edge-qc/{OTHER_STATION}/ack", b"{}"))
        wait_until(lambda: refusals)
    finally:
        link.stop()
    assert refusals == ["Not authorized"]
    assert "does not take our messages" in caplog.text
