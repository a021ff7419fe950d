"""Alarms over many parts: what no single verdict shows. Pure: no I/O, no clock, no thread."""

from collections import deque
from dataclasses import dataclass

from edge_qc.domain import Outcome
from edge_qc.sections import Alarms as Settings

IN_ROW = "rejects_in_row"
REJECT_RATE, NOT_INSPECTED_RATE = "reject_rate", "not_inspected_rate"


@dataclass(frozen=True, slots=True)
class Change:
    """An alarm that went on or off.

    Attributes:
        alarm: ``rejects_in_row``, ``reject_rate`` or ``not_inspected_rate``.
        on: whether it is on now.
        detail: the figures that it went by.
    """

    alarm: str
    on: bool
    detail: str


class Alarms:
    """Follows the verdicts of a line.

    An alarm goes off later than it would go on, so that a line at the limit does not make it flap: the row, after as
    many ok parts in a row; a rate, once it is down to half its limit.

    Args:
        settings: the limits; 0 is off.
    """

    def __init__(self, settings: Settings) -> None:
        self._row_limit = settings.rejects_in_row
        self._rejects = self._oks = 0
        self._row_on = False
        self._rates = [
            _Rate(name, outcome, limit, settings.window_parts)
            for name, outcome, limit in (
                (REJECT_RATE, Outcome.REJECT, settings.reject_rate),
                (NOT_INSPECTED_RATE, Outcome.NOT_INSPECTED, settings.not_inspected_rate),
            )
            if limit
        ]

    def judged(self, outcome: Outcome) -> list[Change]:
        """Takes the next part's outcome; gives the alarms that it switched."""
        changes = [self._row(outcome), *(rate.judged(outcome) for rate in self._rates)]
        return [change for change in changes if change is not None]

    def _row(self, outcome: Outcome) -> Change | None:
        """A part that was not judged, or not surely, neither goes on with the row nor ends it."""
        if not self._row_limit:
            return None
        if outcome is Outcome.REJECT:
            self._rejects, self._oks = self._rejects + 1, 0
        elif outcome is Outcome.OK:
            self._rejects, self._oks = 0, self._oks + 1
        if not self._row_on and self._rejects >= self._row_limit:
            self._row_on = True
            return Change(IN_ROW, on=True, detail=f"{self._rejects} rejects in a row")
        if self._row_on and self._oks >= self._row_limit:
            self._row_on = False
            return Change(IN_ROW, on=False, detail=f"{self._oks} ok parts in a row")
        return None


class _Rate:
    """The share of one outcome in the last ``window`` parts.

    It goes on once the window holds as many as the limit allows in a whole one: early, where they come early, and never
    because a window that has just begun holds one part.
    """

    def __init__(self, name: str, outcome: Outcome, limit: float, window: int) -> None:
        self._name, self._outcome, self._limit = name, outcome, limit * window
        self._last: deque[bool] = deque(maxlen=window)
        self._count = 0
        self._on = False

    def judged(self, outcome: Outcome) -> Change | None:
        if len(self._last) == self._last.maxlen:
            self._count -= self._last[0]
        self._last.append(outcome is self._outcome)
        self._count += self._last[-1]
        turns = self._count <= self._limit / 2 if self._on else self._count >= self._limit
        if not turns:
            return None
        self._on = not self._on
        return Change(self._name, self._on, f"{self._count} {self._outcome.value} in the last {len(self._last)} parts")
