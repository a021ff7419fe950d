"""What a PLC says on ``trigger``: read, bounded, and told apart from what it has said before. Pure."""

import json
from collections import OrderedDict
from dataclasses import dataclass

from edge_qc.domain import printable
from edge_qc.signal.inbound import Malformed, read_object

MAX_ID_LETTERS = 64
MAX_ID_BYTES = 128  # as JSON, so that the verdict fits into 512 bytes
WINDOW_NS = 60_000_000_000  # an id that comes again within it is a repeat
MAX_IDS = 10_000


@dataclass(frozen=True, slots=True)
class TriggerMessage:
    """A message on ``trigger``.

    Attributes:
        payload: as it came.
        at_ns: monotonic time of its arrival, nanoseconds.
        retained: whether the broker had kept it: no part is there now.
        duplicate: whether the broker has sent it before.
    """

    payload: bytes
    at_ns: int
    retained: bool = False
    duplicate: bool = False


def read_trigger(payload: bytes) -> str | None:
    """The part's id, None where the message gives none.

    Args:
        payload: ``{"part": "A-1041"}``, with a text or a whole number, or nothing. Other keys are not looked at.

    Raises:
        Malformed: if it is anything else.
    """
    if not payload:
        return None
    part = read_object(payload).get("part")
    if isinstance(part, int) and not isinstance(part, bool):
        part = str(part)
    if not isinstance(part, str) or not _fits(part):
        raise Malformed(f'expected {{"part": id}} with 1 to {MAX_ID_LETTERS} printable letters, got {payload[:80]!r}')
    return part


def _fits(part: str) -> bool:
    within = 0 < len(part) <= MAX_ID_LETTERS and printable(part) == part
    return within and len(json.dumps(part, ensure_ascii=False).encode()) - 2 <= MAX_ID_BYTES


class PartIds:
    """The ids of the last minute."""

    def __init__(self) -> None:
        self._seen_ns: OrderedDict[str, int] = OrderedDict()

    def repeated(self, part: str, at_ns: int) -> bool:
        """Whether this id has come before, within the window; from now on it has."""
        before_ns = self._seen_ns.pop(part, None)
        self._seen_ns[part] = at_ns
        if len(self._seen_ns) > MAX_IDS:
            self._seen_ns.popitem(last=False)
        return before_ns is not None and at_ns - before_ns <= WINDOW_NS
