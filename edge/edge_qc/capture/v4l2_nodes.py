"""Which video devices there are, and what stands in the way of one that cannot be opened."""

import errno
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from edge_qc.capture.v4l2_device import Device, Identity, V4l2Device
from edge_qc.errors import CaptureError

DEV, SYS, PROC = Path("/dev"), Path("/sys/class/video4linux"), Path("/proc")
_STABLE = ("v4l/by-id", "v4l/by-path")  # by-id is a camera wherever it is plugged in, by-path a socket


@dataclass(frozen=True, slots=True)
class Node:
    """A video device.

    Attributes:
        path: ``/dev/videoN``.
        stable: the path that does not change; ``path`` where udev made none.
        identity: what it is, or None where it may not be asked.
        fault: why it may not be asked.
    """

    path: str
    stable: str
    identity: Identity | None
    fault: str = ""


def nodes() -> Iterator[Node]:
    """Every video device, by its number."""
    for path in sorted(DEV.glob("video[0-9]*"), key=lambda p: int(p.name.removeprefix("video"))):
        try:
            device = V4l2Device(str(path))
        except OSError as error:
            yield Node(str(path), stable_path(path), None, error.strerror or str(error))
            continue
        try:
            yield Node(str(path), stable_path(path), device.identity())
        except OSError as error:
            yield Node(str(path), stable_path(path), None, error.strerror or str(error))
        finally:
            device.close()


def stable_path(path: Path) -> str:
    """The path of a device that stays the same over replugging and restarts; its own where udev made none."""
    for folder in _STABLE:
        for link in sorted((DEV / folder).glob("*")):
            if link.resolve() == path.resolve():
                return str(link)
    return str(path)


def open_capturing(path: str, open_device: Callable[[str], Device] = V4l2Device) -> tuple[Device, Identity]:
    """Opens a device that gives pictures.

    Raises:
        CaptureError: if there is none, it may not be opened, or it gives no pictures.
    """
    try:
        device = open_device(path)
    except OSError as error:
        raise explained(error, path) from error
    try:
        identity = device.identity()
    except OSError as error:
        device.close()
        raise explained(error, path) from error
    if not identity.captures:
        device.close()
        twin = _capturing_twin(path)
        raise CaptureError(
            f"{path} gives no pictures",
            expected="a capturing video device",
            got=f"another node of {identity.card} ({identity.driver}), for metadata or output",
            remedy=f"Its pictures come from {twin}" if twin else "`edge-qc camera list` shows those that do",
        )
    return device, identity


def explained(error: OSError, path: str) -> CaptureError:
    """What the kernel's number means for a camera, and what to do."""
    got = error.strerror or str(error)
    if error.errno == errno.EBUSY:
        users = ", ".join(_users(path)) or "another program"
        free, got = "a camera that nobody has", f"{users} has it"
        remedy = "End it; the service: systemctl stop edge-qc"
        return CaptureError(f"{path} is in use", expected=free, got=got, remedy=remedy)
    if error.errno in (errno.EACCES, errno.EPERM):
        with suppress(OSError):
            got = f"mode {stat.filemode(Path(path).stat().st_mode)} for user {os.geteuid()}"
        remedy = "Add the user to the group `video`"
        return CaptureError(f"no permission for {path}", expected="read and write", got=got, remedy=remedy)
    if error.errno in (errno.ENOENT, errno.ENODEV, errno.ENXIO):
        there = ", ".join(sorted(map(str, DEV.glob("video*")))) or "no /dev/video* at all"
        return CaptureError(
            f"no camera at {path}",
            expected="a video device",
            got=f"{got}; there is {there}",
            remedy="Plug it in, or give --source the path under /dev/v4l/by-id, which does not change",
        )
    if error.errno == errno.ENOTTY:
        return CaptureError(f"{path} is no camera", expected="a V4L2 device", got=got)
    return CaptureError(f"{path} cannot be used", expected="a camera that works", got=got, remedy="Replug the camera")


def _capturing_twin(path: str) -> str:
    """The node of the same camera that gives pictures; empty where there is none."""
    here = SYS / Path(path).resolve().name / "device"
    for twin in sorted(SYS.glob("video*")):
        if (twin / "device").resolve() != here.resolve():
            continue
        with suppress(OSError):
            device = V4l2Device(str(DEV / twin.name))
            try:
                if device.identity().captures:
                    return stable_path(DEV / twin.name)
            finally:
                device.close()
    return ""


def _users(path: str) -> Iterator[str]:
    """The processes that have a device open, as far as one may look into them: name and number."""
    device = Path(path).resolve()
    for process in PROC.glob("[0-9]*"):
        if process.name == str(os.getpid()):
            continue
        with suppress(OSError):
            if any(fd.readlink() == device for fd in (process / "fd").iterdir()):
                yield f"{(process / 'comm').read_text().strip()} (process {process.name})"
