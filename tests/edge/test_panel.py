"""The operator's panel: commands are done between two parts, once; lamps follow alarms and challenges."""

import json
import logging
import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_qc.alarms import Alarms
from edge_qc.challenge import Challenge, Kind, Past
from edge_qc.domain import Outcome
from edge_qc.errors import BundleError
from edge_qc.inspector import Inspector
from edge_qc.panel import MOST_WAITING, Loaded, OperatorPanel
from edge_qc.sections import Alarms as AlarmSettings
from edge_qc.sections import Broker
from edge_qc.signal.link import Message
from edge_qc.signal.mqtt import MqttSignal
from fakes import FakeClassifier, inspection
from support import wait_until


class _Station:
    def __init__(self) -> None:
        self.paused, self.model = False, "casting-1.0.0"
        self.inspectors: list[Inspector] = []

    def take_over(self, inspector: Inspector, model: str) -> None:
        self.inspectors.append(inspector)
        self.model = model


def _inspector() -> Inspector:
    return Inspector(lambda _: None, FakeClassifier(), ("ok_front",), 0.5, 0.5)


class _Line:
    """A panel with all that it tells, and a clock that is set by hand."""

    def __init__(
        self,
        load: Callable[[], Loaded] = lambda: (_inspector(), "casting-1.1.0"),
        *,
        every_h: float = 0,
        past: Past | None = None,
        **limits: float,
    ) -> None:
        self.now_ns = 10**15
        self.reasons: set[str] = set()
        self.events: list[tuple[str, str]] = []
        self.answers: list[dict[str, Any]] = []
        self.station = _Station()
        self.panel = OperatorPanel(
            Alarms(AlarmSettings.model_validate(limits)),
            Challenge(every_h, 1000, past or Past(), lambda: self.now_ns),
            load,
            lambda reason, wrong: (self.reasons.add if wrong else self.reasons.discard)(reason),
            lambda kind, detail: self.events.append((kind, detail)),
            self.answers.append,
        )

    def step(self) -> None:
        self.panel.step(self.station)

    def say(self, *, retained: bool = False, **said: Any) -> None:
        self.panel.press(json.dumps(said).encode(), retained=retained)
        self.step()

    def judge(self, *outcomes: Outcome) -> None:
        """Parts that are triggered now."""
        for seq, outcome in enumerate(outcomes, 1):
            made = inspection(outcome, seq)
            self.panel.judged(replace(made, part=replace(made.part, triggered_ns=self.now_ns)))

    @property
    def kinds(self) -> list[str]:
        return [kind for kind, _ in self.events]


def test_pause_and_resume_are_done_answered_told_and_on_record() -> None:
    line = _Line()
    line.say(id="1", command="pause")
    assert (line.station.paused, line.reasons) == (True, {"paused"})
    line.say(id="2", command="resume")
    assert (line.station.paused, line.reasons) == (False, set())
    assert [(a["id"], a["ok"], a["command"]) for a in line.answers] == [("1", True, "pause"), ("2", True, "resume")]
    assert [(kind, detail.split(":")[0]) for kind, detail in line.events] == [("command", "1"), ("command", "2")]


def test_a_command_that_comes_again_is_answered_again_and_done_once() -> None:
    line = _Line()
    line.say(id="1", command="pause")
    line.say(id="2", command="resume")
    line.say(id="1", command="pause")
    assert not line.station.paused
    assert line.answers[2] == line.answers[0]
    assert line.kinds == ["command", "command"]


def test_a_retained_command_is_refused_with_an_event() -> None:
    line = _Line()
    line.say(id="1", command="pause", retained=True)
    assert not line.station.paused
    assert [(a["id"], a["ok"]) for a in line.answers] == [("1", False)]
    assert line.kinds == ["command_refused"]


def test_a_flood_of_nonsense_is_one_event_until_a_good_command_comes() -> None:
    line = _Line()
    for _ in range(50):
        line.say(nonsense=1)
    assert line.kinds == ["command_refused"]
    line.say(id="1", command="resume")
    line.say(nonsense=1)
    assert line.kinds == ["command_refused", "command", "command_refused"]


def test_what_comes_faster_than_it_can_be_done_is_dropped_and_said() -> None:
    line = _Line()
    for id_ in range(MOST_WAITING + 5):
        line.panel.press(json.dumps({"id": id_, "command": "resume"}).encode(), retained=False)
    assert line.kinds == ["command_refused"]
    while len(line.answers) < MOST_WAITING:
        line.step()
    assert [a["id"] for a in line.answers] == list(range(MOST_WAITING))


def test_reload_swaps_the_inspector_between_two_parts_and_names_both_bundles() -> None:
    line = _Line()
    line.say(id="1", command="reload")
    assert line.station.inspectors == []  # it loads beside the line
    wait_until(lambda: (line.step(), line.answers)[1])
    assert (len(line.station.inspectors), line.station.model) == (1, "casting-1.1.0")
    assert ("model_changed", "from casting-1.0.0 to casting-1.1.0") in line.events
    assert line.answers == [
        {"id": "1", "ok": True, "command": "reload", "message": "from casting-1.0.0 to casting-1.1.0"}
    ]


@pytest.mark.parametrize(("model", "still_drifted"), [("casting-1.1.0", False), ("casting-1.0.0", True)])
def test_the_drift_of_the_bundle_before_is_forgotten_with_it(model: str, still_drifted: bool) -> None:
    line = _Line(lambda: (_inspector(), model))
    line.reasons.add("drift")
    line.say(id="1", command="reload")
    wait_until(lambda: (line.step(), line.answers)[1])
    assert ("drift" in line.reasons) is still_drifted


@pytest.mark.parametrize("fault", [BundleError("the sum of model.tflite does not hold"), PermissionError("no")])
def test_a_bundle_that_cannot_be_used_is_refused_and_the_old_one_goes_on(fault: Exception) -> None:
    def load() -> Loaded:
        raise fault

    line = _Line(load)
    line.say(id="1", command="reload")
    wait_until(lambda: (line.step(), line.answers)[1])
    assert line.station.inspectors == []
    assert not line.answers[0]["ok"]
    assert line.answers[0]["message"] == f"casting-1.0.0 goes on: {fault}"
    assert line.kinds == ["command_refused"]


def test_alarms_are_lamps_and_events() -> None:
    line = _Line(rejects_in_row=2)
    line.judge(Outcome.REJECT, Outcome.REJECT)
    assert line.reasons == {"rejects_in_row"}
    line.judge(Outcome.OK, Outcome.OK)
    assert line.reasons == set()
    assert line.kinds == ["alarm", "alarm_over"]


def test_a_challenge_part_counts_for_no_alarm() -> None:
    line = _Line(rejects_in_row=1)
    line.say(id="1", command="challenge")
    line.judge(Outcome.REJECT)
    assert (line.kinds, line.reasons) == (["command", "challenge_passed"], set())
    line.judge(Outcome.REJECT)
    assert line.reasons == {"rejects_in_row"}


def test_a_failed_challenge_is_a_lamp_until_one_is_passed() -> None:
    line = _Line()
    line.say(id="1", command="challenge", expect="reject")
    line.judge(Outcome.OK)
    assert line.reasons == {"challenge_failed"}
    line.say(id="2", command="challenge")
    line.judge(Outcome.REJECT)
    assert line.reasons == set()
    assert line.kinds == ["command", "challenge_failed", "command", "challenge_passed"]


def test_a_challenge_that_nobody_brings_is_missed_without_a_part() -> None:
    line = _Line()
    line.say(id="1", command="challenge", within_s=5)
    line.now_ns += int(6.1e9)
    line.step()
    assert line.reasons == {"challenge_missed"}


def test_a_challenge_while_another_is_awaited_or_in_a_pause_is_refused() -> None:
    line = _Line()
    line.say(id="1", command="challenge")
    line.say(id="2", command="challenge")
    line.say(id="3", command="pause")
    line.say(id="4", command="challenge")
    assert [(a["id"], a["ok"]) for a in line.answers] == [("1", True), ("2", False), ("3", True), ("4", False)]


def test_what_failed_before_a_restart_is_lit_from_the_start() -> None:
    assert _Line(past=Past(None, frozenset({Kind.FAILED}))).reasons == {"challenge_failed"}


def test_a_shift_without_its_challenge_is_lit_and_on_record_once() -> None:
    line = _Line(every_h=8)
    for _ in range(3):
        line.step()
    assert (line.reasons, line.kinds) == ({"challenge_due"}, ["challenge_due"])


COMMAND_WORDS = st.sampled_from(["id", "command", "pause", "reload", "challenge", "expect", "session", "seq", "state"])
LIKE_IT = st.dictionaries(COMMAND_WORDS, COMMAND_WORDS | st.integers() | st.none()).map(json.dumps).map(str.encode)
TOPICS = ("ack", "state", "command")


def _signal(panel: OperatorPanel) -> MqttSignal:
    heard = {"command": lambda said: panel.press(said.payload, retained=said.retain)}
    return MqttSignal(Broker(), "line1/cam1", "abcd1234", "m-1.0.0", listeners=heard)


@given(st.lists(st.tuples(st.sampled_from(TOPICS), st.binary(max_size=200) | LIKE_IT, st.booleans()), max_size=20))
def test_no_payload_on_any_topic_upsets_the_station(messages: list[tuple[str, bytes, bool]]) -> None:
    line = _Line()
    signal = _signal(line.panel)
    for name, payload, retained in messages:
        topic = f"edge-qc/line1/cam1/{name}"
        signal._heard[topic](Message(topic, payload, retain=retained))
        line.step()
    assert signal.send(inspection()) == "offline"  # no broker here; it goes on


def test_thousands_of_random_payloads_leave_no_memory_behind() -> None:
    line, dice = _Line(), Random(4)  # noqa: S311 - nonsense that can be repeated
    signal = _signal(line.panel)

    def shower(count: int) -> None:
        for i in range(count):
            topic = f"edge-qc/line1/cam1/{TOPICS[i % len(TOPICS)]}"
            said = f'{{"id": "{dice.randrange(10**9)}", "command": "resume", "seq": {i}, "session": "abcd1234"}}'
            payload = dice.choice((dice.randbytes(dice.randrange(300)), said.encode(), b"x" * 5000))
            signal._heard[topic](Message(topic, payload))
            line.step()
        line.answers.clear()  # the test's own
        line.events.clear()

    logging.disable()  # pytest would keep every line
    try:
        shower(3000)  # until what is bounded is full
        tracemalloc.start()
        shower(6000)
        grown, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
        logging.disable(logging.NOTSET)
    assert grown < 100_000, f"{grown} bytes more"
