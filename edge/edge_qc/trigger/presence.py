"""Parts that are found in the picture: whatever moves through the region, or stops in it."""

import logging
import time
from collections import deque
from collections.abc import Callable

from edge_qc.capture.base import Camera, Shot, TellHealth, tell_nobody
from edge_qc.deadline import Claim, DeadlineGuard
from edge_qc.domain import Part, Unusable, Verdict, printable
from edge_qc.errors import PictureError
from edge_qc.trigger.base import Parts
from edge_qc.trigger.lineup import LineUp
from edge_qc.trigger.passage import Passage, Passages

log = logging.getLogger(__name__)

BLIND = "trigger_blind"
BLIND_NS = 2_000_000_000  # a part may cover the region, or a hand the lens, for a moment
SETTLING = Verdict.not_inspected("no_frame", "its frames were not settled in time")
PARTIAL = Unusable("partial", "it came in on one side and left on the other without ever lying wholly in the region")


class Presence:
    """See ``Trigger``. The trigger time is the capture of the first frame in which the part lies wholly in the region.

    The deadline counts from there, and the part is watched by the guard from there, while better frames are waited for.
    Where nothing can be seen for 2 s (dark, covered, no frames) parts would pass unseen: that is told as
    ``trigger_blind``, so that the station is degraded.

    Args:
        source: what the record names as the source.
        deadline_ms: time from trigger to verdict, milliseconds.
        guard: watches each part from its trigger on.
        passages: finds them.
        on_health: told ``trigger_blind``, and whether it is so.
        clock: monotonic nanoseconds, as the camera's frames have it.
    """

    def __init__(
        self,
        source: str,
        deadline_ms: int,
        guard: DeadlineGuard,
        passages: Passages,
        *,
        on_health: TellHealth = tell_nobody,
        clock: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self._source, self._deadline_ns = printable(source), deadline_ms * 1_000_000
        self._guard, self._passages, self._on_health, self._clock = guard, passages, on_health, clock
        self._line = LineUp(self._take, self._end)
        self._under_way: deque[tuple[Claim, Passage]] = deque()
        self._seq = 0
        self._seeing_ns = clock()
        self._blind = ""

    def parts(self, camera: Camera) -> Parts:
        """See ``Trigger``. Each part comes once its frames are settled, in the order in which they were found."""
        self._seeing_ns = self._clock()
        return self._line.parts(camera)

    def _take(self, shot: Shot | None) -> None:
        if shot is not None and shot.frame is not None:
            try:
                found = self._passages.see(shot.frame)
                blind = self._passages.blind
            except PictureError as error:
                found, blind = [], str(error)
            for passage in found:
                self._under_way.append((self._guard.watch(self._part(passage), SETTLING), passage))
        else:
            self._passages.settle(self._clock())
            blind = "no frame comes" if shot is None or shot.fault is None else shot.fault.detail
        self._tell(blind)
        self._line_up()

    def _part(self, passage: Passage) -> Part:
        self._seq += 1
        at_ns = passage.trigger.captured_ns
        return Part(
            seq=self._seq,
            id=str(self._seq),
            triggered_ns=at_ns,
            triggered_at=passage.trigger.captured_at,
            deadline_ns=at_ns + self._deadline_ns,
            source=self._source,
        )

    def _line_up(self) -> None:
        while self._under_way and self._under_way[0][1].settled:
            claim, passage = self._under_way.popleft()
            self._line.add(claim, passage.frames or PARTIAL)

    def _end(self, _: str) -> None:
        self._passages.end()
        self._line_up()

    def _tell(self, blind: str) -> None:
        """Says each change once; that it is over, at once."""
        now_ns = self._clock()
        if not blind:
            self._seeing_ns = now_ns
            if self._blind:
                log.info("the trigger sees again")
                self._on_health(BLIND, False)  # noqa: FBT003 - the port's order
        elif not self._blind and now_ns - self._seeing_ns > BLIND_NS:
            log.error("parts may pass unseen: %s", blind)
            self._on_health(BLIND, True)  # noqa: FBT003
        else:
            return
        self._blind = blind
