"""The port of triggers: what says that a part is in front of the camera."""

from collections.abc import Generator
from typing import Protocol

from edge_qc.capture.base import Camera
from edge_qc.domain import Part

Parts = Generator[Part | None, None, None]


class Trigger(Protocol):
    """Turns what the camera sees into parts."""

    def parts(self, camera: Camera) -> Parts:
        """Each part, once, numbered from 1 without a gap; None whenever none came within the bound.

        The bound (0.1 s) lets the loop show that it lives. Ends when the source ends. Once it is closed, the camera is
        no longer read.

        Raises:
            CaptureError: if the source is lost.
        """
        ...
