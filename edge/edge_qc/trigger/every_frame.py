"""Every picture is a part: folders, files, and cameras that are triggered by wire."""

import time
from collections.abc import Iterator
from datetime import UTC, datetime

from edge_qc.capture.base import Camera, EndOfSource
from edge_qc.domain import Part, printable

IDLE_S = 0.1


class EveryFrame:
    """See ``Trigger``.

    Args:
        source: what the record names as the source.
        deadline_ms: time from trigger to verdict, milliseconds.
    """

    def __init__(self, source: str, deadline_ms: int) -> None:
        self._source = printable(source)
        self._deadline_ns = deadline_ms * 1_000_000

    def parts(self, camera: Camera) -> Iterator[Part | None]:
        """See ``Trigger``. The trigger time is the capture, or the taking up of a file that cannot be read."""
        seq = 0
        while True:
            try:
                shot = camera.read(IDLE_S)
            except EndOfSource:
                return
            if shot is None:
                yield None
                continue
            seq += 1
            frame = shot.frame
            at_ns = frame.captured_ns if frame else time.monotonic_ns()
            name = frame.name if frame else (shot.fault.name if shot.fault else None)
            yield Part(
                seq=seq,
                id=printable(name) if name else str(seq),
                triggered_ns=at_ns,
                triggered_at=frame.captured_at if frame else datetime.now(UTC),
                deadline_ns=at_ns + self._deadline_ns,
                source=self._source,
                frame=frame,
                fault=shot.fault,
                stamp=shot.stamp,
            )
