"""The claim and the guard: each part one verdict, in time, in the order of the numbers, whatever comes between."""

import threading
import time
from dataclasses import replace
from datetime import UTC, datetime

from hypothesis import example, given
from hypothesis import strategies as st

from edge_qc.capture.base import Shot
from edge_qc.deadline import OVERRUN, SAYING_NS, Claim, DeadlineGuard
from edge_qc.domain import Frame, Inspection, Outcome, Signalled, Unusable, Verdict
from edge_qc.inspector import Inspector
from edge_qc.station import Health, Identity, Station
from edge_qc.trigger.remote import RemoteTrigger
from fakes import FakeCamera, FakeClassifier, FakeRecords, FakeSignal, grey, part
from support import wait_until

MS = 1_000_000
DEADLINE_MS = 200
MOST_PENDING = 100  # what can be told one after the other within the deadline, whatever happens


@given(st.lists(st.sampled_from(["inspector", "guard"]), min_size=1, max_size=20))
def test_whoever_claims_a_part_first_is_the_only_one(claimants: list[str]) -> None:
    claim = Claim(part(), OVERRUN)
    assert [claim.take() for _ in claimants] == [True] + [False] * (len(claimants) - 1)


def test_in_a_race_of_threads_one_claim_wins() -> None:
    for _ in range(50):
        claim, start, won = Claim(part(), OVERRUN), threading.Barrier(4), []

        def race(claim: Claim = claim, start: threading.Barrier = start, won: list[bool] = won) -> None:
            start.wait()
            won.append(claim.take())

        threads = [threading.Thread(target=race) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert won.count(True) == 1


class _Said:
    """Takes what the guard gives up."""

    def __init__(self) -> None:
        self.claims: list[Claim] = []

    def __call__(self, claim: Claim) -> None:
        if claim.take():
            self.claims.append(claim)

    @property
    def reasons(self) -> list[tuple[int, str]]:
        return [(claim.part.seq, claim.missed.reason) for claim in self.claims]


def test_the_guard_leaves_a_part_alone_that_was_judged_in_time() -> None:
    guard, said = DeadlineGuard(), _Said()
    guard.start(said)
    with guard.for_part(part(1, deadline_ms=60)) as claim:
        assert claim.take()
    with guard.for_part(part(2, deadline_ms=60)):
        wait_until(lambda: said.claims)
    guard.stop()
    assert said.reasons == [(2, "deadline")]


def test_a_hang_costs_the_part_in_hand_and_those_behind_it_their_inspection_but_none_its_verdict() -> None:
    guard, said = DeadlineGuard(), _Said()
    guard.start(said)
    parts = [part(seq, deadline_ms=150) for seq in (1, 2, 3)]
    for one in parts:
        guard.watch(one)
    with guard.for_part(parts[0]):
        wait_until(lambda: len(said.claims) == 3)
    with guard.for_part(parts[1]) as claim:
        assert claim.taken  # the loop need not judge it any more
    guard.stop()
    assert said.reasons == [(1, "deadline"), (2, "overrun"), (3, "overrun")]


def test_parts_that_were_triggered_before_the_start_are_watched_from_their_triggers() -> None:
    guard, said = DeadlineGuard(), _Said()
    guard.watch(part(1, deadline_ms=-1))
    guard.start(said)
    wait_until(lambda: said.claims)
    guard.stop()


def test_at_the_stop_what_waits_gets_its_verdict_and_so_does_what_comes_later() -> None:
    guard, said = DeadlineGuard(), _Said()
    guard.start(said)
    guard.watch(part(1, deadline_ms=60_000))
    guard.stop()
    guard.watch(part(2, deadline_ms=60_000))
    assert said.reasons == [(1, "stopped"), (2, "stopped")]


def test_a_full_queue_gives_up_the_part_that_has_waited_the_longest() -> None:
    guard, said = DeadlineGuard(limit=3), _Said()
    guard.start(said)
    for seq in range(1, 6):
        guard.watch(part(seq, deadline_ms=60_000))
    wait_until(lambda: len(said.claims) == 2)
    guard.stop()
    assert said.reasons[:2] == [(1, "overrun"), (2, "overrun")]


def test_the_guard_sleeps_while_parts_are_judged_in_time() -> None:
    """It is woken for the first of them; the others have later deadlines."""
    looks = []

    def clock() -> int:
        looks.append(threading.current_thread().name)
        return time.monotonic_ns()

    guard = DeadlineGuard(clock=clock)
    guard.start(_Said())
    for seq in range(1, 200):
        with guard.for_part(part(seq, deadline_ms=60_000)) as claim:
            claim.take()
    guard.stop()
    assert looks.count("deadline") <= 3


class _Signal(FakeSignal):
    """Notes when each verdict left, by the line's clock; to say one takes its time."""

    def __init__(self, line: "_Line") -> None:
        super().__init__()
        self._line = line

    def send(self, inspection: Inspection) -> Signalled:
        self._line.left_ns[inspection.part.seq] = self._line.now_ns
        self._line.now_ns += SAYING_NS
        self.sent.append(inspection)
        return "sent"


class _Line:
    """The real station, trigger and guard, on a clock that the test moves: each does its work when it is due."""

    def __init__(self) -> None:
        self.now_ns = 1_000_000 * MS
        self.left_ns: dict[int, int] = {}
        self.guard = DeadlineGuard(MOST_PENDING, clock=self._clock)
        self.trigger = RemoteTrigger("fake", DEADLINE_MS, self.guard, clock=self._clock)
        self.signal, self.records = _Signal(self), FakeRecords()
        inspector = Inspector(lambda _: None, FakeClassifier(), ("ok_front",), 0.5, 0.5)
        who = Identity("abcd1234", "line1/cam1", "fake-1.0.0")
        camera, health = FakeCamera(), Health(self.signal)
        self.station = Station(
            who,
            camera,
            self.trigger,
            inspector,
            self.signal,
            self.records,
            health,
            guard=self.guard,
            clock=self._clock,
        )
        self.guard._on_missed = self.station._missed
        self.triggered = 0

    def _clock(self) -> int:
        return self.now_ns

    def advance(self, ms: int) -> None:
        """Time goes by, and the guard does what falls due; what it says takes time too."""
        until_ns = self.now_ns + ms * MS
        while True:
            with self.guard._change:
                left_ns = self.guard._look()
            if left_ns > 0:
                if self.now_ns + left_ns > until_ns:
                    break
                self.now_ns += int(left_ns)
        self.now_ns = max(self.now_ns, until_ns)

    def burst(self, count: int) -> None:
        for _ in range(min(count, MOST_PENDING - len(self.guard._pending))):
            self.triggered += 1
            self.trigger.fire()

    def picture(self, *, fault: bool) -> None:
        if fault:
            self.trigger._take(Shot(fault=Unusable("frozen", "the same picture again")))
        else:
            self.trigger._take(Shot(Frame(grey(), 1, self.now_ns, datetime.now(UTC), "fake")))

    def judge(self, takes_ms: int) -> None:
        """The loop takes the next part, if there is one, and its model takes so long."""
        if not self.trigger._line._ready:
            return
        with self.guard.for_part(self.trigger._line._ready.popleft().part) as claim:
            if not claim.taken:
                verdict, prediction = self.station._inspect(claim)
                self.advance(takes_ms)
                self.station._conclude(claim, verdict, prediction)


steps = st.lists(
    st.one_of(
        st.tuples(st.just("burst"), st.integers(1, 60)),
        st.tuples(st.just("picture"), st.booleans()),
        st.tuples(st.just("judge"), st.one_of(st.integers(0, 20), st.integers(0, 500))),
        st.tuples(st.just("wait"), st.integers(0, 300)),
    ),
    max_size=60,
)


@given(steps)
@example([("burst", 60), ("burst", 60), ("wait", 300)])  # a dead camera, and as many parts as may wait
@example([("burst", 1), ("picture", False), ("judge", 500), ("burst", 2), ("picture", False), ("judge", 1)])
def test_any_interleaving_gives_each_part_exactly_one_verdict_in_time_and_in_order(
    steps: list[tuple[str, int]],
) -> None:
    line = _Line()
    for what, how in steps:
        match what:
            case "burst":
                line.burst(how)
            case "picture":
                line.picture(fault=bool(how))
            case "judge":
                line.judge(how)
            case "wait":
                line.advance(how)
    line.advance(2 * DEADLINE_MS)
    numbers = [inspection.part.seq for inspection in line.signal.sent]
    assert numbers == list(range(1, line.triggered + 1))
    assert [i.part.seq for i, _ in line.records.kept] == numbers
    for inspection in line.signal.sent:
        assert line.left_ns[inspection.part.seq] < inspection.part.deadline_ns
        judged = inspection.verdict.outcome is not Outcome.NOT_INSPECTED
        assert judged == (inspection.prediction is not None)
        assert not judged or inspection.part.frame is not None


@given(st.integers(1, MOST_PENDING))
def test_a_burst_is_told_one_after_the_other_early_enough_for_the_last(count: int) -> None:
    line = _Line()
    line.burst(count)
    line.advance(2 * DEADLINE_MS)
    last = line.signal.sent[-1]
    assert line.left_ns[last.part.seq] < last.part.deadline_ns
    first = line.signal.sent[0]
    assert first.part.deadline_ns - line.left_ns[first.part.seq] < (count + 41) * MS  # and not earlier than need be


def test_a_verdict_that_comes_after_the_guards_is_nobodys() -> None:
    line = _Line()
    line.burst(1)
    line.picture(fault=False)
    line.judge(DEADLINE_MS)
    assert [i.verdict.reason for i in line.signal.sent] == ["deadline"]
    assert len(line.records.kept) == 1


def test_the_guards_word_follows_what_a_part_waits_for() -> None:
    line = _Line()
    line.burst(1)
    line.picture(fault=False)  # of part 1, which queues up
    line.burst(1)  # part 2 gets no picture
    line.advance(DEADLINE_MS)
    line.burst(1)
    line.picture(fault=True)  # part 3 sees the camera frozen
    line.advance(DEADLINE_MS)
    assert [i.verdict.reason for i in line.signal.sent] == ["overrun", "no_frame", "frozen"]


def test_threads_that_race_for_parts_give_each_exactly_one_verdict_in_order() -> None:
    """Deadlines fall due just while the loop judges: for real, with the threads of a station."""
    guard, station_said, lock = DeadlineGuard(limit=1000), list[int](), threading.Lock()

    def conclude(claim: Claim) -> None:
        with lock:
            if claim.take():
                station_said.append(claim.part.seq)

    guard.start(conclude)
    for seq in range(1, 151):
        now_ns = time.monotonic_ns()
        one = replace(part(seq), triggered_ns=now_ns, deadline_ns=now_ns + 2 * MS)
        guard.watch(one, Verdict.not_inspected("overrun"))
        with guard.for_part(one) as claim:
            end_ns = now_ns + (1525 + seq) * 1000  # around when it is due, 1.6 ms after its trigger
            while time.monotonic_ns() < end_ns:
                pass
            conclude(claim)
    guard.stop()
    assert station_said == list(range(1, 151))
