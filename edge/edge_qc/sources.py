"""From a source in the config to the adapter that gives its pictures."""

import stat
from pathlib import Path
from typing import TYPE_CHECKING

from edge_qc.capture.base import Camera, TellEvent, TellHealth, tell_nobody
from edge_qc.config import Config
from edge_qc.domain import FileStamp
from edge_qc.picture import PICTURE_SUFFIXES

if TYPE_CHECKING:
    from edge_qc.capture.folder import Ledger


class NoLedger:
    """Knows no file: for looking at a source without a record."""

    def was_taken(self, stamp: FileStamp) -> bool:  # noqa: ARG002 - the ledger's signature
        """See ``capture.folder.Ledger``."""
        return False

    def digests(self, path: str, size_bytes: int) -> set[bytes]:  # noqa: ARG002
        """See ``capture.folder.Ledger``."""
        return set()


def build_camera(
    config: Config,
    data_dir: Path,
    ledger: "Ledger",
    *,
    once: bool,
    on_health: TellHealth = tell_nobody,
    on_event: TellEvent = tell_nobody,
) -> Camera:
    """The adapter for the config's source, not yet opened.

    Args:
        config: the configuration.
        data_dir: the station's own folder, which is not looked into where it lies inside a watch folder.
        ledger: what is known of files.
        once: end with what the source holds now; a camera gives one frame.
        on_health: told why a camera makes the station degraded; from any thread.
        on_event: told what an auditor will ask about; from any thread.
    """
    uri = config.source.uri
    if uri.startswith("sim:"):
        from edge_qc.capture.simulated import BeltCamera, SimulatedCamera, parse_sim_uri  # noqa: PLC0415 - only the one in use

        return (BeltCamera if parse_sim_uri(uri).belt else SimulatedCamera)(uri, once=once)
    path = Path(uri)
    if path.is_dir():
        from edge_qc.capture.folder import FolderCamera  # noqa: PLC0415

        return FolderCamera(path, config.source, ledger, ignore=data_dir, once=once)
    if uri.startswith("/dev/") or is_device(path):
        from edge_qc.capture.v4l2 import V4l2Camera  # noqa: PLC0415

        return V4l2Camera(uri, config.source, config.camera, once=once, on_health=on_health, on_event=on_event)
    if uri.startswith("picamera:"):
        from edge_qc.capture.picamera import PiCamera  # noqa: PLC0415

        return PiCamera(uri, config.source, config.camera, once=once, on_health=on_health, on_event=on_event)
    from edge_qc.capture.stream import LiveStream, PictureFile, VideoFile  # noqa: PLC0415

    if uri.startswith(("rtsp://", "rtsps://")):
        return LiveStream(uri, once=once, on_health=on_health, on_event=on_event)
    return PictureFile(path) if path.suffix.lower() in PICTURE_SUFFIXES else VideoFile(path)


def source_name(config: Config) -> str:
    """The source as records name it: without a password."""
    uri = config.source.uri
    if not uri.startswith(("rtsp://", "rtsps://")):
        return uri
    from edge_qc.capture.stream import without_password  # noqa: PLC0415

    return without_password(uri)


def is_device(path: Path) -> bool:
    """Whether a path is a device's, wherever it lies."""
    try:
        return stat.S_ISCHR(path.stat().st_mode)
    except OSError:
        return False
