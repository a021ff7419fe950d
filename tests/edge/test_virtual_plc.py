"""The reference PLC's program, against a clock that the test moves."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_qc.config import Broker
from edge_qc.errors import SignalError
from edge_qc.virtual_plc import PlcLogic, VirtualPlc


class Clock:
    """Both of the PLC's clocks, moved by hand."""

    def __init__(self) -> None:
        self.start = datetime(2026, 1, 31, 8, 15, tzinfo=UTC)
        self.seconds = 0.0

    def utc(self) -> datetime:
        return self.start + timedelta(seconds=self.seconds)

    def monotonic_s(self) -> float:
        return self.seconds


class Bench:
    """A PLC with its clock."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.plc = PlcLogic(window_ms=1000, utc=self.clock.utc, monotonic_s=self.clock.monotonic_s, keep=1000)

    def payload(self, seq: int, verdict: str = "ok", *, session: str = "9f3a21c4", age_s: float = 0.01) -> bytes:
        captured = self.clock.utc() - timedelta(seconds=age_s)
        said: dict[str, Any] = {"session": session, "seq": seq, "part": str(seq), "verdict": verdict, "reason": "good"}
        said |= {"label": "ok_front", "score": 0.01, "captured_at": captured.isoformat(), "age_ms": 8, "model": "m-1"}
        return json.dumps(said).encode()

    def beat(self, seq: int = 0) -> None:
        self.plc.on_heartbeat(json.dumps({"session": "9f3a21c4", "seq": seq}).encode())


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_ok_is_let_pass_at_once(bench: Bench) -> None:
    action = bench.plc.on_verdict(bench.payload(1))
    assert action is not None
    assert (action.did, action.seq, action.part) == ("passed", 1, "1")
    assert action.age_ms == pytest.approx(10, abs=0.01)
    counts = bench.plc.counts()
    assert (counts.parts, counts.ok, counts.acted) == (1, 1, 1)


@pytest.mark.parametrize("verdict", ["reject", "unsure", "not_inspected"])
@pytest.mark.parametrize("reject_first", [True, False])
def test_the_gate_fires_on_reject_whichever_message_comes_first(bench: Bench, verdict: str, reject_first: bool) -> None:
    payload = bench.payload(1, verdict)
    calls = [bench.plc.on_reject, bench.plc.on_verdict]
    done = [call(payload) for call in (calls if reject_first else reversed(calls))]
    assert [a.did for a in done if a is not None] == ["rejected"]
    counts = bench.plc.counts()
    assert (counts.parts, counts.rejected, counts.doubled, counts.ok) == (1, 1, 0, 0)


def test_a_double_is_counted_and_not_acted_on(bench: Bench) -> None:
    payload = bench.payload(1, "reject")
    assert bench.plc.on_reject(payload) is not None
    assert bench.plc.on_reject(payload) is None
    bench.plc.on_verdict(payload)
    assert bench.plc.on_verdict(payload) is None
    counts = bench.plc.counts()
    assert (counts.parts, counts.rejected, counts.doubled) == (1, 1, 2)


def test_the_same_seq_of_another_session_is_another_part(bench: Bench) -> None:
    bench.plc.on_verdict(bench.payload(1))
    bench.plc.on_verdict(bench.payload(1, session="00000002"))
    assert bench.plc.counts().ok == 2
    assert bench.plc.counts().doubled == 0


def test_a_second_and_different_verdict_is_a_double(bench: Bench) -> None:
    bench.plc.on_verdict(bench.payload(1, "ok"))
    assert bench.plc.on_reject(bench.payload(1, "reject")) is None
    counts = bench.plc.counts()
    assert (counts.ok, counts.rejected, counts.doubled) == (1, 0, 1)


def test_a_late_reject_is_never_acted_on(bench: Bench) -> None:
    action = bench.plc.on_reject(bench.payload(1, "reject", age_s=1.01))
    assert action is not None
    assert action.did == "late"
    bench.plc.on_verdict(bench.payload(1, "reject", age_s=1.02))
    counts = bench.plc.counts()
    assert (counts.parts, counts.late, counts.rejected, counts.doubled) == (1, 1, 0, 0)


def test_a_capture_in_the_future_is_outside_the_window_too(bench: Bench) -> None:
    bench.plc.on_reject(bench.payload(1, "reject", age_s=-3600))
    assert bench.plc.counts().rejected == 0


def test_a_part_whose_reject_never_came_is_let_through_and_told(bench: Bench) -> None:
    payload = bench.payload(1, "unsure")
    assert bench.plc.on_verdict(payload) is None
    bench.plc.tick()
    assert bench.plc.counts().settled == 0
    bench.clock.seconds = 1.1
    bench.plc.tick()
    assert bench.plc.counts().let_through == 1
    action = bench.plc.on_reject(payload)
    assert action is not None
    assert action.did == "late"
    counts = bench.plc.counts()
    assert (counts.let_through, counts.late, counts.rejected) == (0, 1, 0)


def test_gaps_are_missing_until_their_part_comes(bench: Bench) -> None:
    for seq in (1, 2, 5):
        bench.plc.on_verdict(bench.payload(seq))
    assert bench.plc.counts().missing == 2
    bench.plc.on_verdict(bench.payload(4))
    assert bench.plc.counts().missing == 1


def test_a_heartbeat_tells_of_missing_parts_at_either_end(bench: Bench) -> None:
    bench.beat(0)
    bench.plc.on_verdict(bench.payload(2))
    assert bench.plc.counts().missing == 1
    bench.beat(4)
    assert bench.plc.counts().missing == 3


def test_a_plc_that_joins_late_misses_nothing(bench: Bench) -> None:
    bench.beat(40)
    bench.plc.on_verdict(bench.payload(41))
    assert bench.plc.counts().missing == 0


def test_each_silence_of_the_heartbeat_counts_once(bench: Bench) -> None:
    bench.plc.tick()
    bench.clock.seconds = 5
    bench.plc.tick()
    assert bench.plc.counts().heartbeat_faults == 0, "no beat was ever heard"
    for start in (5.0, 10.0):
        bench.clock.seconds = start
        bench.beat()
        bench.clock.seconds = start + 1.0
        bench.plc.tick()
        bench.clock.seconds = start + 1.1
        bench.plc.tick()
        bench.plc.tick()
    assert bench.plc.counts().heartbeat_faults == 2


def test_a_station_that_the_broker_calls_lost_still_owes_its_heartbeat(bench: Bench) -> None:
    """Its Will comes within milliseconds where a process is killed or a link cut: the line must stop all the same."""
    bench.beat()
    bench.plc.on_state(b'{"state":"offline","reasons":["connection_lost"]}')
    bench.clock.seconds = 60
    bench.plc.tick()
    assert bench.plc.counts().heartbeat_faults == 1


def test_an_offline_station_owes_no_heartbeat(bench: Bench) -> None:
    bench.beat()
    bench.plc.on_state(b'{"state":"offline"}')
    bench.clock.seconds = 60
    bench.plc.tick()
    assert bench.plc.counts().heartbeat_faults == 0


@given(st.binary(max_size=80) | st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.dictionaries(
        st.sampled_from(["session", "seq", "part", "verdict", "reason", "captured_at", "score", "state"]), inner
    ),
    max_leaves=12,
).map(lambda tree: json.dumps(tree).encode()))  # fmt: skip
def test_no_payload_brings_it_down(payload: bytes) -> None:
    bench = Bench()
    for call in (bench.plc.on_verdict, bench.plc.on_reject, bench.plc.on_heartbeat, bench.plc.on_state):
        call(payload)
    assert bench.plc.counts().acted == 0
    assert bench.plc.counts().malformed >= 2


@pytest.mark.parametrize(
    "change",
    [{"captured_at": "0001-01-01T00:00:00+14:00"}, {"score": "high"}, {"seq": 0}, {"seq": True}, {"verdict": "maybe"}],
)
def test_a_field_out_of_bounds_is_malformed(bench: Bench, change: dict[str, Any]) -> None:
    assert bench.plc.on_verdict(json.dumps(json.loads(bench.payload(1)) | change).encode()) is None
    assert bench.plc.counts().malformed == 1


def test_a_reject_of_an_ok_part_is_malformed(bench: Bench) -> None:
    bench.plc.on_reject(bench.payload(1, "ok"))
    assert bench.plc.counts().malformed == 1
    assert bench.plc.counts().rejected == 0


MESSAGES = st.tuples(
    st.sampled_from(["verdict", "reject"]),
    st.integers(1, 4),
    st.sampled_from(["ok", "reject", "unsure"]),
    st.floats(0, 2),
)


@given(st.lists(st.tuples(MESSAGES, st.floats(0, 0.6)), max_size=40))
def test_in_any_order_and_number_no_part_is_acted_on_twice_or_late(
    script: list[tuple[tuple[str, int, str, float], float]],
) -> None:
    bench = Bench()
    acted: list[int] = []
    for (topic, seq, verdict, age_s), pause_s in script:
        payload = bench.payload(seq, verdict, age_s=age_s)
        action = (bench.plc.on_verdict if topic == "verdict" else bench.plc.on_reject)(payload)
        if action is not None and action.did in ("passed", "rejected"):
            assert age_s <= 1.0001
            acted.append(action.seq)
        bench.clock.seconds += pause_s
        bench.plc.tick()
    assert len(acted) == len(set(acted))
    counts = bench.plc.counts()
    assert counts.acted == len(acted)
    assert counts.settled <= counts.parts
    assert counts.missing >= 0
    bench.clock.seconds += 10
    bench.plc.tick()
    assert bench.plc.counts().settled == bench.plc.counts().parts


@pytest.mark.parametrize("url", ["none:", "embedded:"])
def test_a_plc_needs_a_broker_to_meet_at(url: str) -> None:
    with pytest.raises(SignalError, match="mqtt://"):
        VirtualPlc(Broker(url=url), "line1/cam1")
