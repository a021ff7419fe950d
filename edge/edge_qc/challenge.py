"""The challenge part: a known bad (or good) one that shows whether the station still finds it. Pure: no I/O, no thread.

Like any other part it gets its verdict and its place at the gate; here is only kept whether the verdict was the one
that was expected, and when a challenge was last passed.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Literal, Self

from edge_qc.domain import Inspection

Expected = Literal["reject", "ok"]


class Kind(StrEnum):
    """What becomes of challenges: kinds of event, and all but the first reasons to be degraded."""

    PASSED = "challenge_passed"
    FAILED = "challenge_failed"
    MISSED = "challenge_missed"
    DUE = "challenge_due"


@dataclass(frozen=True, slots=True)
class Past:
    """The challenges of earlier sessions, as the record has them.

    Attributes:
        passed_at: when one was last passed, UTC; None for never.
        wrong_since: those of ``challenge_failed`` and ``challenge_missed`` that came after it.
    """

    passed_at: datetime | None = None
    wrong_since: frozenset[Kind] = frozenset()

    @classmethod
    def of(cls, events: Iterable[tuple[str, datetime]]) -> Self:
        """From the newest event of each kind, in the order in which they were."""
        passed_at: datetime | None = None
        wrong: set[Kind] = set()
        for name, at in events:
            match Kind(name):
                case Kind.PASSED:
                    passed_at = at
                    wrong.clear()
                case Kind.FAILED | Kind.MISSED as kind:
                    wrong.add(kind)
                case Kind.DUE:  # found anew from the time that has passed
                    pass
        return cls(passed_at, frozenset(wrong))


@dataclass(frozen=True, slots=True)
class Change:
    """Something that became of a challenge.

    Attributes:
        kind: what.
        detail: a sentence for the record.
    """

    kind: Kind
    detail: str


@dataclass(frozen=True, slots=True)
class _Awaited:
    id: str
    expected: Expected
    since_ns: int
    until_ns: int


class Challenge:
    """Awaits challenge parts, compares their verdicts, and knows when the next is due.

    Args:
        every_h: hours after which a station without a passed challenge is due for one; 0 for never.
        deadline_ms: what a part that has come in time may still need to its verdict, milliseconds.
        past: the challenges of earlier sessions.
        clock: monotonic nanoseconds.
        utc: the time of day, read at the start alone: afterwards a clock that is set changes nothing.
    """

    def __init__(
        self,
        every_h: float,
        deadline_ms: int,
        past: Past,
        clock: Callable[[], int],
        utc: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._every_ns, self._grace_ns = int(every_h * 3600e9), deadline_ms * 1_000_000
        self._clock = clock
        self._awaited: _Awaited | None = None
        self._due_said = False
        self.wrong = set(past.wrong_since)
        """Why the station is degraded."""
        self._passed_ns = self._remembered_ns(past.passed_at, utc())

    def expect(self, id_: str, expected: Expected, within_s: float) -> bool:
        """The next part that is triggered is a challenge part. False if another is awaited still."""
        if self._awaited is not None:
            return False
        now_ns = self._clock()
        self._awaited = _Awaited(id_, expected, now_ns, now_ns + int(within_s * 1e9))
        return True

    def judged(self, inspection: Inspection) -> Change | None:
        """What a part shows if it is the one awaited; None if it is a part like any other."""
        awaited, part = self._awaited, inspection.part
        if awaited is None or not awaited.since_ns <= part.triggered_ns <= awaited.until_ns:
            return None
        self._awaited = None
        verdict = inspection.verdict
        score = "" if verdict.score is None else f", score {verdict.score:.4f}"
        detail = (
            f"command {awaited.id}: part {part.id} ({inspection.session}-{part.seq}): expected {awaited.expected}, "
            f"got {verdict.outcome.value} ({verdict.reason}{score}), model {inspection.model}"
        )
        if verdict.outcome.value != awaited.expected:
            return self._went_wrong(Kind.FAILED, detail)
        self._passed_ns, self._due_said = self._clock(), False
        self.wrong.clear()
        return Change(Kind.PASSED, detail)

    def look(self) -> list[Change]:
        """What time alone has brought: a challenge part that did not come, a challenge that is due."""
        now_ns, awaited, changes = self._clock(), self._awaited, []
        if awaited is not None and now_ns > awaited.until_ns + self._grace_ns:
            self._awaited = None
            within_s = (awaited.until_ns - awaited.since_ns) / 1e9
            detail = f"command {awaited.id}: expected a part ({awaited.expected}) within {within_s:g} s, none came"
            changes.append(self._went_wrong(Kind.MISSED, detail))
        if self._is_due(now_ns) and not self._due_said:
            self._due_said = True
            detail = f"no challenge was passed in {self._every_ns / 3600e9:g} h"
            changes.append(self._went_wrong(Kind.DUE, detail))
        return changes

    def _went_wrong(self, kind: Kind, detail: str) -> Change:
        self.wrong.add(kind)
        return Change(kind, detail)

    def _is_due(self, now_ns: int) -> bool:
        return bool(self._every_ns) and (self._passed_ns is None or now_ns - self._passed_ns >= self._every_ns)

    def _remembered_ns(self, passed_at: datetime | None, now: datetime) -> int | None:
        """When the last one was passed, by the monotonic clock. One of the future says nothing: the clock is off."""
        if passed_at is None or passed_at > now:
            return None
        return self._clock() - (now - passed_at) // timedelta(microseconds=1) * 1000
