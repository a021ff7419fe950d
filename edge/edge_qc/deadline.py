"""Every part has a verdict before its deadline: whoever claims it first, inspector or guard, wins."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from edge_qc.domain import Part, Verdict

# What a verdict needs to leave, and a thread to get its turn on a busy machine; at most a fifth of the deadline.
MARGIN_NS = 100_000_000
SAYING_NS = 1_000_000  # what each of several verdicts takes that the guard gives one after the other
LIMIT = 100
_FOR_EVER_NS = float("inf")

DEADLINE = Verdict.not_inspected("deadline", "no verdict came in time")
OVERRUN = Verdict.not_inspected("overrun", "it waited behind other parts until its time was up")
FULL = Verdict.not_inspected("overrun", "more parts came than may wait, and it was the first of them")
STOPPED = Verdict.not_inspected("stopped", "the station was stopped")


class Claim:
    """The right to give a part its one verdict.

    Args:
        part: the part, as far as it is known.
        missed: what the guard says of it if its time is up.

    Attributes:
        part: the part; with its picture, once it has one.
        missed: as above; it follows what the part waits for.
        due_ns: monotonic time by which its verdict must be given in order to leave before the deadline, nanoseconds.
    """

    __slots__ = ("_lock", "_taken", "due_ns", "missed", "part")

    def __init__(self, part: Part, missed: Verdict) -> None:
        self.part, self.missed = part, missed
        self.due_ns = part.deadline_ns - min(MARGIN_NS, (part.deadline_ns - part.triggered_ns) // 5)
        self._lock = threading.Lock()
        self._taken = False

    @property
    def taken(self) -> bool:
        """Whether the part has its verdict."""
        return self._taken

    def take(self) -> bool:
        """True for the first caller, False for every later one."""
        with self._lock:
            first = not self._taken
            self._taken = True
        return first


class Pending:
    """The parts without a verdict, in the order of their numbers. Pure: no clock, no thread, and not locked.

    Args:
        limit: how many may wait; beyond it the first is due at once.
    """

    def __init__(self, limit: int = LIMIT) -> None:
        self._limit = limit
        self._claims: dict[int, Claim] = {}
        self._last_seq = 0

    def __len__(self) -> int:
        return len(self._claims)

    def add(self, claim: Claim) -> int:
        """Takes a part; the time by which the first must be given up for its sake (see ``first``)."""
        self._claims[claim.part.seq] = claim
        self._last_seq = claim.part.seq
        return 0 if self.full else claim.due_ns - (len(self) - 1) * SAYING_NS

    def find(self, part: Part) -> Claim | None:
        """The claim of a part: one that is taken if the part has had its verdict, None if the part is new."""
        if part.seq > self._last_seq:
            return None
        claim = self._claims.get(part.seq)
        if claim is None:
            claim = Claim(part, OVERRUN)
            claim.take()
        return claim

    def remove(self, claim: Claim) -> None:
        """The part has its verdict."""
        self._claims.pop(claim.part.seq, None)

    @property
    def full(self) -> bool:
        """Whether more parts wait than may."""
        return len(self) > self._limit

    def first(self) -> tuple[Claim, int] | None:
        """The part that has waited the longest, and when it must be given up so that all get their verdicts in time.

        Verdicts leave in the order of the numbers, one after the other: so that the eleventh part still gets its own,
        the first must be given up ten verdicts before the eleventh is due. None when no part waits.
        """
        claims = self._claims.values()
        oldest = next(iter(claims), None)
        if oldest is None:
            return None
        if self.full:
            return oldest, 0
        return oldest, min(claim.due_ns - i * SAYING_NS for i, claim in enumerate(claims))


class DeadlineGuard:
    """Watches every part from its trigger to its verdict, in a thread of its own.

    Args:
        limit: how many parts may wait; beyond it the guard gives up the one that has waited the longest.
        clock: monotonic nanoseconds.
    """

    def __init__(self, limit: int = LIMIT, *, clock: Callable[[], int] = time.monotonic_ns) -> None:
        self._pending = Pending(limit)
        self._clock = clock
        self._change = threading.Condition()
        self._wakes_ns: float = 0.0
        self._on_missed: Callable[[Claim], None] = lambda _: None
        self._stopped = False
        self._thread = threading.Thread(target=self._run, name="deadline", daemon=True)

    def start(self, on_missed: Callable[[Claim], None]) -> None:
        """Starts the thread. Parts that were triggered before are watched from their triggers.

        Args:
            on_missed: called with a part that nobody has claimed, shortly before its deadline; in the guard's thread.
        """
        self._on_missed = on_missed
        self._thread.start()

    def stop(self) -> None:
        """Ends the thread. Whatever still waits gets its verdict now, and so does what is triggered later."""
        with self._change:
            self._stopped = True
            self._change.notify()
        if self._thread.is_alive():
            self._thread.join(1)
        while (first := self._pending.first()) is not None:
            self._give_up(first[0], STOPPED)

    def watch(self, part: Part, missed: Verdict = OVERRUN) -> Claim:
        """Watches a part from now on. Called in the order of the parts' numbers, from any thread."""
        claim = Claim(part, missed)
        with self._change:
            begin_ns = self._pending.add(claim)
            if begin_ns < self._wakes_ns:  # else the guard wakes early enough: most parts need not wake it at all
                self._change.notify()
            stopped = self._stopped
        if stopped:
            self._give_up(claim, STOPPED)
        return claim

    @contextmanager
    def for_part(self, part: Part) -> Iterator[Claim]:
        """The claim of the part that is inspected now; ``taken`` already if the guard has given its verdict.

        A part whose block raises stays watched.
        """
        with self._change:
            claim = self._pending.find(part)
        if claim is None:
            claim = self.watch(part)
        claim.part, claim.missed = part, DEADLINE
        yield claim
        with self._change:
            self._pending.remove(claim)

    def _run(self) -> None:
        with self._change:
            while not self._stopped:
                left_ns = self._look()
                if left_ns > 0:
                    self._change.wait(None if left_ns == _FOR_EVER_NS else left_ns / 1e9)

    def _look(self) -> float:
        """Gives the first part up if its time has come; else how long there is nothing to do, nanoseconds."""
        first = self._pending.first()
        if first is None:
            self._wakes_ns = _FOR_EVER_NS
            return _FOR_EVER_NS
        claim, self._wakes_ns = first
        left_ns = self._wakes_ns - self._clock()
        if left_ns <= 0:
            missed = FULL if self._pending.full else claim.missed
            self._change.release()  # the line must not wait for what the guard does now
            try:
                self._give_up(claim, missed)
            finally:
                self._change.acquire()
        return left_ns

    def _give_up(self, claim: Claim, missed: Verdict) -> None:
        claim.missed = missed
        self._on_missed(claim)
        with self._change:
            self._pending.remove(claim)
