"""Every part has a verdict before its deadline: whoever claims it first, inspector or guard, wins."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from edge_qc.domain import Part

MARGIN_NS = 20_000_000  # what a verdict needs to leave


class Claim:
    """The right to give a part its one verdict."""

    def __init__(self, part: Part) -> None:
        self.part = part
        self._lock = threading.Lock()
        self._taken = False

    def take(self) -> bool:
        """True for the first caller, False for every later one."""
        with self._lock:
            first = not self._taken
            self._taken = True
        return first


class DeadlineGuard:
    """Watches the part that is being inspected, in a thread of its own.

    Args:
        on_missed: called with a part shortly before its deadline if nobody has claimed it; in the guard's thread.
    """

    def __init__(self, on_missed: Callable[[Part], None]) -> None:
        self._on_missed = on_missed
        self._change = threading.Condition()
        self._claim: Claim | None = None
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="deadline", daemon=True)

    def start(self) -> None:
        """Starts the thread."""
        self._thread.start()

    def stop(self) -> None:
        """Ends the thread."""
        with self._change:
            self._stopping = True
            self._change.notify()
        if self._thread.is_alive():
            self._thread.join(1)

    @contextmanager
    def for_part(self, part: Part) -> Iterator[Claim]:
        """Watches a part until the block ends."""
        claim = Claim(part)
        with self._change:
            idle, self._claim = self._claim is None, claim
            if idle:
                self._change.notify()
        try:
            yield claim
        finally:
            with self._change:
                self._claim = None

    def _run(self) -> None:
        with self._change:
            while not self._stopping:
                claim = self._claim
                if claim is None:
                    self._change.wait()
                    continue
                due_ns = claim.part.deadline_ns - _margin_ns(claim.part)
                left_s = (due_ns - time.monotonic_ns()) / 1e9
                if left_s > 0:
                    self._change.wait(left_s)
                elif claim.take():
                    self._claim = None
                    self._change.release()  # the line must not wait for what the guard does now
                    try:
                        self._on_missed(claim.part)
                    finally:
                        self._change.acquire()
                else:
                    self._claim = None


def _margin_ns(part: Part) -> int:
    return min(MARGIN_NS, (part.deadline_ns - part.triggered_ns) // 5)
