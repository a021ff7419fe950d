"""The reference PLC's program, against a clock that the test moves."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_qc.errors import SignalError
from edge_qc.sections import Broker
from edge_qc.virtual_plc import OnFault, PlcLogic, VirtualPlc


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

    def __init__(self, on_fault: OnFault = "count") -> None:
        self.clock = Clock()
        self.plc = PlcLogic(
            window_ms=1000, utc=self.clock.utc, monotonic_s=self.clock.monotonic_s, keep=1000, on_fault=on_fault
        )

    def payload(self, seq: int, verdict: str = "ok", *, session: str = "9f3a21c4", age_s: float = 0.01) -> bytes:
        captured = self.clock.utc() - timedelta(seconds=age_s)
        said: dict[str, Any] = {"session": session, "seq": seq, "part": str(seq), "verdict": verdict, "reason": "good"}
        said |= {"label": "ok_front", "score": 0.01, "captured_at": captured.isoformat(), "age_ms": 8, "model": "m-1"}
        return json.dumps(said).encode()

    def beat(self, seq: int = 0) -> None:
        self.plc.on_heartbeat(json.dumps({"session": "9f3a21c4", "seq": seq}).encode())

    def live(self, seconds: float, seq: int = 0) -> None:
        """Lets time pass with a heartbeat at 5 Hz."""
        for _ in range(round(seconds * 5)):
            self.clock.seconds += 0.2
            self.beat(seq)
            self.plc.tick()


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


def test_without_a_heartbeat_a_plc_that_rejects_removes_ok_parts_too() -> None:
    bench = Bench("reject")
    done = [bench.plc.on_verdict(bench.payload(1))]
    bench.beat(1)
    done.append(bench.plc.on_verdict(bench.payload(2)))
    bench.clock.seconds = 1.1
    bench.plc.tick()
    done.append(bench.plc.on_verdict(bench.payload(3)))
    done.append(bench.plc.on_reject(bench.payload(4, "reject")))
    assert [a.did for a in done if a] == ["rejected_on_fault", "passed", "rejected_on_fault", "rejected"]
    counts = bench.plc.counts()
    assert (counts.ok, counts.rejected, counts.rejected_on_fault, counts.settled) == (1, 1, 2, 4)
    assert counts.stops == counts.held == 0


def test_a_plc_that_rejects_removes_gaps_late_and_unanswered_parts() -> None:
    bench = Bench("reject")
    bench.beat(0)
    bench.plc.on_verdict(bench.payload(2, "unsure"))  # no reject comes for it, and none at all for 1
    bench.live(1.2, seq=2)
    bench.plc.on_reject(bench.payload(3, "reject", age_s=1.1))
    counts = bench.plc.counts()
    assert (counts.missing, counts.late, counts.let_through) == (1, 1, 0)
    assert (counts.rejected_on_fault, counts.settled, counts.waiting) == (3, 2, 0)


def test_a_line_that_stops_holds_all_parts_until_the_first_heartbeat() -> None:
    bench = Bench("stop")
    action = bench.plc.on_verdict(bench.payload(1))
    assert action is not None
    assert action.did == "held"
    bench.beat(1)
    bench.plc.on_verdict(bench.payload(2))
    counts = bench.plc.counts()
    assert (counts.held, counts.ok, counts.stops, counts.settled) == (1, 1, 0, 2)


def test_a_silent_heartbeat_stops_the_line_until_it_has_been_back_for_a_second() -> None:
    bench = Bench("stop")
    bench.beat(0)
    bench.clock.seconds = 1.1
    bench.plc.tick()
    assert bench.plc.counts().stops == 1
    bench.live(0.6)
    bench.plc.on_reject(bench.payload(1, "reject"))
    assert (bench.plc.counts().held, bench.plc.counts().rejected) == (1, 0), "the line stands: the gate must not fire"
    bench.live(0.6, seq=1)
    bench.plc.on_verdict(bench.payload(2))
    counts = bench.plc.counts()
    assert (counts.ok, counts.held, counts.stops) == (1, 1, 1)


def test_a_line_does_not_pass_parts_in_the_moment_before_its_time_out_is_noticed() -> None:
    bench = Bench("stop")
    bench.beat(0)
    bench.clock.seconds = 1.1
    bench.plc.on_verdict(bench.payload(1))
    assert bench.plc.counts().ok == 0


@pytest.mark.parametrize("what", ["gap", "late", "no reject"])
def test_a_line_that_stops_does_so_at_each_doubt(what: str) -> None:
    bench = Bench("stop")
    bench.beat(0)
    match what:
        case "gap":
            bench.plc.on_verdict(bench.payload(2))
        case "late":
            bench.plc.on_reject(bench.payload(1, "reject", age_s=1.1))
        case _:
            bench.plc.on_verdict(bench.payload(1, "reject"))
    bench.live(1.6, seq=2 if what == "gap" else 1)
    counts = bench.plc.counts()
    assert (counts.stops, counts.let_through, counts.rejected) == (1, 0, 0)
    assert (counts.held, counts.late) == (what == "no reject", what == "late")
    bench.live(1.2, seq=2 if what == "gap" else 1)
    bench.plc.on_verdict(bench.payload(3))
    assert bench.plc.counts().ok == (2 if what == "gap" else 1), "the line runs again"


def test_a_gap_that_closes_within_the_window_stops_nothing() -> None:
    """A heartbeat may overtake the verdict that it tells of."""
    bench = Bench("stop")
    for seq in range(1, 20):
        bench.beat(seq)
        bench.plc.tick()
        bench.clock.seconds += 0.1
        bench.plc.on_verdict(bench.payload(seq))
        bench.plc.tick()
    assert bench.plc.counts().stops == 0
    assert bench.plc.counts().ok == 19


def test_a_station_that_stops_by_intent_is_no_fault_and_passes_nothing() -> None:
    bench = Bench("stop")
    bench.beat(0)
    bench.plc.on_state(b'{"state":"offline","reasons":["stopped"]}')
    bench.plc.on_verdict(bench.payload(1))
    counts = bench.plc.counts()
    assert (counts.ok, counts.held, counts.stops) == (0, 1, 0)


MESSAGES = st.tuples(
    st.sampled_from(["verdict", "reject"]),
    st.integers(1, 4),
    st.sampled_from(["ok", "reject", "unsure"]),
    st.floats(0, 2),
)


@given(st.sampled_from(["count", "stop", "reject"]), st.lists(st.tuples(MESSAGES, st.floats(0, 0.6)), max_size=40))
def test_in_any_order_and_number_no_part_is_acted_on_twice_or_late(
    on_fault: OnFault, script: list[tuple[tuple[str, int, str, float], float]]
) -> None:
    bench = Bench(on_fault)
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
    counts = bench.plc.counts()
    assert counts.settled == counts.parts
    removed = counts.rejected_on_fault - counts.missing - counts.late if on_fault == "reject" else 0
    assert counts.parts == counts.acted + counts.let_through + counts.late + counts.held + removed
    assert on_fault == "count" or counts.let_through == 0


@pytest.mark.parametrize("url", ["none:", "embedded:"])
def test_a_plc_needs_a_broker_to_meet_at(url: str) -> None:
    with pytest.raises(SignalError, match="mqtt://"):
        VirtualPlc(Broker(url=url), "line1/cam1")
