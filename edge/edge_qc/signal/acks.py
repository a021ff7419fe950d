"""What the PLC says that it has acted on: followed, so that a PLC that stops acting is noticed."""

from collections import deque
from collections.abc import Callable

from edge_qc.signal.inbound import Malformed, read_object


class AckFollower:
    """Compares what was sent with what was acknowledged. Pure: no I/O, no thread.

    A PLC need not acknowledge: until its first acknowledgement of this session nothing is missed.

    Args:
        session: acknowledgements of other sessions are ignored.
        timeout_s: seconds after which an acknowledgement is missing.
        clock: monotonic seconds.
    """

    def __init__(self, session: str, timeout_s: float, clock: Callable[[], float]) -> None:
        self._session, self._timeout_s, self._clock = session, timeout_s, clock
        self._waiting: deque[tuple[int, float]] = deque(maxlen=10_000)
        self._said = False
        self.last_acknowledged = 0

    def sent(self, seq: int) -> None:
        """A part's verdict has left."""
        self._waiting.append((seq, self._clock()))

    def heard(self, payload: bytes) -> str | None:
        """Takes an acknowledgement: the PLC has acted on this part and on all before it.

        Returns:
            What is wrong with the message, or None.
        """
        try:
            said = read_object(payload)
        except Malformed as wrong:
            return str(wrong)
        seq = said.get("seq")
        if not isinstance(seq, int) or isinstance(seq, bool) or not isinstance(said.get("session"), str):
            return f'expected {{"session": text, "seq": number}}, got {payload[:80]!r}'
        if said["session"] == self._session:
            self.last_acknowledged = max(self.last_acknowledged, seq)
        return None

    def missing(self) -> int | None:
        """The oldest part whose acknowledgement is overdue; said once, until the PLC has caught up."""
        while self._waiting and self._waiting[0][0] <= self.last_acknowledged:
            self._waiting.popleft()
        overdue = bool(self._waiting) and self._clock() - self._waiting[0][1] > self._timeout_s
        if not overdue or not self.last_acknowledged:
            self._said = False
            return None
        if self._said:
            return None
        self._said = True
        return self._waiting[0][0]
