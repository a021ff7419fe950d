"""Parts that are told of from outside the camera: by an MQTT message, or by whatever else calls ``fire``."""

import logging
import threading
import time
from collections import Counter, deque
from collections.abc import Callable
from datetime import UTC, datetime
from itertools import pairwise

from edge_qc.capture.base import Camera, Shot
from edge_qc.deadline import Claim, DeadlineGuard
from edge_qc.domain import Frame, Part, Unusable, Verdict, printable
from edge_qc.signal.inbound import Malformed
from edge_qc.trigger.base import Parts
from edge_qc.trigger.lineup import LineUp, forget_given_up
from edge_qc.trigger.message import PartIds, TriggerMessage, read_trigger

log = logging.getLogger(__name__)

SAID_EVERY_NS = 1_000_000_000
NO_FRAME = Verdict.not_inspected("no_frame", "the camera gave no picture of it in time")


class RemoteTrigger:
    """See ``Trigger``. A part is known, and watched by the guard, from the call of ``fire`` on.

    A thread of its own reads the camera all the time. A picture belongs to the last part that was triggered before it
    was taken, and to no other; so a part gets the first ones that were taken of it. A part whose successor was
    triggered before it had a picture gets none: what is in view now is not it. Parts with their pictures queue up while
    the line is busy.

    Args:
        source: what the record names as the source.
        deadline_ms: time from trigger to verdict, milliseconds.
        guard: watches each part from its trigger on.
        votes: pictures wanted of each part; fewer where the next part comes, or half the time to the deadline is gone.
        on_event: called with kind and detail of what an auditor will ask about.
        clock: monotonic nanoseconds, as the camera's frames have it.
    """

    def __init__(
        self,
        source: str,
        deadline_ms: int,
        guard: DeadlineGuard,
        *,
        votes: int = 1,
        on_event: Callable[[str, str], None] = lambda _kind, _detail: None,
        clock: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self._source, self._deadline_ns = printable(source), deadline_ms * 1_000_000
        self._guard, self._votes, self._clock = guard, votes, clock
        self._events = _Seldom(on_event)
        self._ids = PartIds()
        self._seq = 0
        self._lock = threading.Lock()
        self._waiting: deque[Claim] = deque()
        self._shown: Claim | None = None
        self._frames: list[Frame] = []
        self._line = LineUp(self._take, self._end)

    def hear(self, message: TriggerMessage) -> None:
        """Takes a message on ``trigger``. Whatever it holds, a part is there; but see ``docs/plc.md`` for repeats."""
        if message.retained:
            detail = "a retained trigger would fire at each connection: publish it without retain"
            self._events.tell("retained_trigger", detail, message.at_ns)
            return
        try:
            part_id = read_trigger(message.payload)
        except Malformed as wrong:
            part_id = None
            self._events.tell("malformed_trigger", f"{wrong}; the part goes by its number", message.at_ns)
        if part_id is not None and self._ids.repeated(part_id, message.at_ns):
            if message.duplicate:
                log.info("the trigger of part %s was delivered twice", part_id)
                return
            self._events.tell("repeated_part", f"{part_id} was triggered twice within a minute", message.at_ns)
        self.fire(part_id, message.at_ns)

    def fire(self, part_id: str | None = None, at_ns: int | None = None) -> None:
        """A part is in front of the camera; from any thread.

        Args:
            part_id: printable; None to go by the part's number.
            at_ns: monotonic time at which this was known, nanoseconds; None for now.
        """
        with self._lock:  # numbers are given, and parts stand in line, in one order
            self._seq += 1
            at_ns = self._clock() if at_ns is None else at_ns
            part = Part(
                seq=self._seq,
                id=part_id or str(self._seq),
                triggered_ns=at_ns,
                triggered_at=datetime.now(UTC),
                deadline_ns=at_ns + self._deadline_ns,
                source=self._source,
            )
            forget_given_up(self._waiting)
            self._waiting.append(self._guard.watch(part, NO_FRAME))

    def parts(self, camera: Camera) -> Parts:
        """See ``Trigger``. Each part comes once it has its pictures, or is known to get none."""
        return self._line.parts(camera)

    def _take(self, shot: Shot | None) -> None:
        """Gives a picture to the part that it is of; what is no picture is noted, for the next one may be better."""
        with self._lock:
            if shot is not None and shot.frame is not None:
                self._show(shot.frame)
            elif shot is not None and shot.fault is not None:
                for claim in self._waiting:
                    claim.missed = Verdict.not_inspected(shot.fault.reason, shot.fault.detail)
            if self._shown is not None and self._clock() >= self._shown.part.triggered_ns + self._deadline_ns // 2:
                self._settle()

    def _show(self, frame: Frame) -> None:
        seen: list[Claim] = []
        while self._waiting and self._waiting[0].part.triggered_ns <= frame.captured_ns:
            seen.append(self._waiting.popleft())
        if seen:
            self._settle()  # what is in view now is not it
        for claim, successor in pairwise(seen):
            detail = f"part {successor.part.id} was triggered before a picture of this one was taken"
            self._line.add(claim, Unusable("no_frame", detail))
        for claim in seen[-1:]:
            self._shown, self._frames = claim, []
        if self._shown is not None:
            self._frames.append(frame)
            if len(self._frames) >= self._votes:
                self._settle()

    def _settle(self) -> None:
        """The part that is being looked at has all its pictures, and lines up."""
        if self._shown is not None:
            self._line.add(self._shown, self._frames)
        self._shown, self._frames = None, []

    def _end(self, why: str) -> None:
        with self._lock:
            self._settle()
            while self._waiting:
                self._line.add(self._waiting.popleft(), Unusable("no_frame", why))


class _Seldom:
    """Tells of each kind of event once a second at most: whoever floods the topic floods neither log nor record."""

    def __init__(self, tell: Callable[[str, str], None]) -> None:
        self._tell = tell
        self._next_ns: dict[str, int] = {}
        self._unsaid = Counter[str]()

    def tell(self, kind: str, detail: str, at_ns: int) -> None:
        if at_ns < self._next_ns.get(kind, at_ns):
            self._unsaid[kind] += 1
            return
        self._next_ns[kind] = at_ns + SAID_EVERY_NS
        more = self._unsaid.pop(kind, 0)
        text = f"{detail} ({more} more before it)" if more else detail
        log.warning("%s: %s", kind, text)
        self._tell(kind, text)
