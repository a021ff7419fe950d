"""The port of cameras: whatever gives pictures, one after the other."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from edge_qc.domain import FileStamp, Frame, Unusable

TellHealth = Callable[[str, bool], object]
"""Told a reason, and whether it is wrong or well again (``station.Health``)."""
TellEvent = Callable[[str, str], object]
"""Told the kind of an event, and its detail (``domain.Event``)."""


def tell_nobody(*_: object) -> None:
    """For looking at a source without a station."""


@dataclass(frozen=True, slots=True, eq=False)
class Shot:
    """One picture taken, or the reason why there is none.

    Attributes:
        frame: the picture, or None when it is unusable.
        fault: why there is no frame.
        stamp: the file it is, where the source is a watch folder.
        load: where the picture is still to be read and decoded: does it. Whoever wants the picture calls ``loaded``.
    """

    frame: Frame | None = None
    fault: Unusable | None = None
    stamp: FileStamp | None = None
    load: "Callable[[], Shot] | None" = None

    def loaded(self) -> "Shot":
        """The shot with its picture, or with its fault: reads and decodes what has not been, which may take long."""
        return self if self.load is None else self.load()


class EndOfSource(Exception):  # noqa: N818 - the end is no error
    """The source has given all it will ever give."""


class Camera(Protocol):
    """A source of pictures. One thread calls it."""

    def open(self) -> None:
        """Takes the source.

        Raises:
            CaptureError: if it is not there, is in use, or is not a camera.
        """
        ...

    def read(self, timeout_s: float) -> Shot | None:
        """The next picture, waiting for at most ``timeout_s`` seconds; None when none came.

        Raises:
            EndOfSource: if there will be no more.
            CaptureError: if the source is lost.
        """
        ...

    def release(self, stamp: FileStamp) -> None:
        """The part of this file has its verdict and its record: the file may be moved. Other sources do nothing."""
        ...

    def close(self) -> None:
        """Gives the source back. Safe to call twice, and without ``open``."""
        ...
