"""Every picture is a part: folders, files, and cameras that are triggered by wire."""

import time
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from edge_qc.capture.base import Camera, EndOfSource, Shot
from edge_qc.domain import Part, printable
from edge_qc.trigger.base import Parts

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

    def parts(self, camera: Camera) -> Parts:
        """See ``Trigger``. The trigger time is the capture; of a file, its taking up, before it is read."""
        seq = 0
        while True:
            try:
                shot = camera.read(IDLE_S)
            except EndOfSource:
                return
            if shot is None:
                yield None
            else:
                seq += 1
                yield self._part(seq, shot)

    def _part(self, seq: int, shot: Shot) -> Part:
        frame, name = shot.frame, _name(shot)
        at_ns = frame.captured_ns if frame else time.monotonic_ns()
        part = Part(
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
        return part if shot.load is None else replace(part, load=lambda: _with_picture(part, shot.loaded()))


def _with_picture(part: Part, shot: Shot) -> Part:
    return replace(part, frame=shot.frame, fault=shot.fault, stamp=shot.stamp)


def _name(shot: Shot) -> str | None:
    """The file's name, where the source is files."""
    named = shot.frame or shot.fault
    return named.name if named else Path(shot.stamp.path).name if shot.stamp else None
