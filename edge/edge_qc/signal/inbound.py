"""What comes in from outside is bounded and read in one place: the broker lets anybody say anything."""

import json
from typing import Any

MAX_PAYLOAD_BYTES = 4096


class Malformed(ValueError):  # noqa: N818 - what it is, not whose fault
    """A payload that cannot be what its topic carries; its text says what was expected and what came."""


def read_object(payload: bytes) -> dict[str, Any]:
    """The JSON object that a payload is.

    Args:
        payload: as it came; more than 4096 bytes are not looked at.

    Raises:
        Malformed: if it is too long, is no JSON, or is no object.
    """
    if len(payload) > MAX_PAYLOAD_BYTES:
        raise Malformed(f"expected at most {MAX_PAYLOAD_BYTES} bytes, got {len(payload)}")
    try:
        said = json.loads(payload)
    except (ValueError, RecursionError):
        raise Malformed(f"expected JSON, got {payload[:40]!r}") from None
    if not isinstance(said, dict):
        raise Malformed(f"expected a JSON object, got {payload[:40]!r}")
    return said
