"""Parts that are known before they have their pictures: a thread reads the camera, and they line up for the loop."""

import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import replace

from edge_qc.capture.base import Camera, EndOfSource, Shot
from edge_qc.deadline import OVERRUN, Claim
from edge_qc.domain import Frame, Unusable, Verdict
from edge_qc.errors import CaptureError
from edge_qc.trigger.base import Parts

IDLE_S = 0.1
CLOSE_S = 2.0


class LineUp:
    """The line of parts that have all they will ever get. The camera goes on being read while the loop is busy.

    Args:
        take: called with each shot, and with None whenever none came within 0.1 s; in a thread of its own, as ``end``.
        end: called with why the source has ended: what is still waited for must be added now.
    """

    def __init__(self, take: Callable[[Shot | None], None], end: Callable[[str], None]) -> None:
        self._take, self._end = take, end
        self._news = threading.Condition()
        self._ready: deque[Claim] = deque()
        self._ended: EndOfSource | CaptureError | None = None

    def add(self, claim: Claim, got: Sequence[Frame] | Unusable) -> None:
        """Lines up a part with its frames, best first, or with the reason why it has none."""
        if isinstance(got, Unusable):
            claim.part, claim.missed = replace(claim.part, fault=got), Verdict.not_inspected(got.reason, got.detail)
        else:
            claim.part, claim.missed = replace(claim.part, frame=got[0], others=tuple(got[1:])), OVERRUN
        with self._news:
            self._ready.append(claim)
            forget_given_up(self._ready)
            self._news.notify()

    def parts(self, camera: Camera) -> Parts:
        """See ``Trigger``."""
        stopping = threading.Event()
        reader = threading.Thread(target=self._read, args=(camera, stopping), name="frames", daemon=True)
        reader.start()
        try:
            while self._ended is None or self._ready:
                with self._news:
                    self._news.wait_for(lambda: self._ready or self._ended, IDLE_S)
                    claim = self._ready.popleft() if self._ready else None
                yield None if claim is None else claim.part
        finally:
            stopping.set()
            reader.join(CLOSE_S)
        if isinstance(self._ended, CaptureError):
            raise self._ended

    def _read(self, camera: Camera, stopping: threading.Event) -> None:
        try:
            while not stopping.is_set():
                shot = camera.read(IDLE_S)
                self._take(None if shot is None else shot.loaded())
        except (EndOfSource, CaptureError) as end:
            self._end(str(end) or "the source has ended")
            with self._news:
                self._ended = end
                self._news.notify()


def forget_given_up(claims: deque[Claim]) -> None:
    """What the guard has given up need not wait, nor hold its picture, behind a loop or a camera that hangs."""
    while claims and claims[0].taken:
        claims.popleft()
