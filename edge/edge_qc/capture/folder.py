"""A watch folder: each file once, oldest first, and only when it is whole."""

import errno
import fcntl
import logging
import os
import stat
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from inotify_simple import INotify, flags

from edge_qc.capture.base import EndOfSource, Shot
from edge_qc.config import Source
from edge_qc.domain import FileStamp, Frame, Unusable
from edge_qc.errors import CaptureError, PictureError
from edge_qc.picture import read_picture

log = logging.getLogger(__name__)

REJECTED_DIR = "rejected-files"
INSPECTED_DIR = "inspected-files"
REASONS_FILE = "reasons.txt"
_WATCHED = flags.CLOSE_WRITE | flags.MOVED_TO | flags.CREATE


@dataclass(slots=True)
class _Look:
    """What a file looked like when it was last looked at, and since when (monotonic seconds) it has looked so."""

    size_bytes: int
    mtime_ns: int
    since_s: float


class FolderCamera:
    """See ``Camera``.

    Files whose names begin with a dot are left alone (writers use such names for what is not finished), and so are the
    two folders that files are moved to. Folders inside are watched too.

    Args:
        folder: the folder.
        settings: what becomes of inspected files, and how long a file must rest.
        was_taken: whether this version of a file already has its record.
        once: end when everything that was there at ``open`` has been given.
    """

    def __init__(
        self, folder: Path, settings: Source, was_taken: Callable[[FileStamp], bool], *, once: bool = False
    ) -> None:
        self._folder, self._settings, self._was_taken, self._once = folder.absolute(), settings, was_taken, once
        self._inotify: INotify | None = None
        self._watches: dict[int, Path] = {}
        self._resting: dict[Path, _Look] = {}
        self._ready: dict[Path, FileStamp] = {}
        self._given: dict[Path, FileStamp] = {}
        self._unusable: dict[FileStamp, str] = {}
        self._rescan_at_s = 0.0
        self._seq = 0

    def open(self) -> None:
        """See ``Camera``."""
        if not self._folder.is_dir():
            raise CaptureError(
                f"no watch folder at {self._folder}",
                expected="a folder",
                got="a file" if self._folder.exists() else "nothing",
                remedy="Make it, or give --source the right one",
            )
        if not os.access(self._folder, os.R_OK | os.X_OK):
            raise CaptureError(
                f"watch folder {self._folder} cannot be read",
                expected="permission to list it and to open its files",
                got=f"mode {stat.filemode(self._folder.stat().st_mode)} for user {os.geteuid()}",
                remedy="Give the user of edge-qc read permission",
            )
        try:
            self._inotify = INotify(nonblocking=False)
        except OSError as error:
            log.warning("the kernel gives no file events (%s): looking every %g s", error, self._settings.rescan_s)
        self._scan()

    def read(self, timeout_s: float) -> Shot | None:
        """See ``Camera``. A file that is no picture comes as a fault, in its turn."""
        until_s = time.monotonic() + timeout_s
        while True:
            while self._ready:
                path, stamp = next(iter(self._ready.items()))
                del self._ready[path]
                shot = self._take(stamp)
                if shot is not None:
                    return shot
            self._look_again()
            if self._ready:
                continue
            if self._once and not self._resting:
                raise EndOfSource
            left_s = until_s - time.monotonic()
            if left_s <= 0:
                return None
            self._wait(left_s)

    def release(self, stamp: FileStamp) -> None:
        """See ``Camera``: a file that is no picture goes to ``rejected-files/``, others by config."""
        why = self._unusable.pop(stamp, None)
        path = Path(stamp.path)
        if why is not None:
            moved = self._move(path, REJECTED_DIR)
            if moved is not None:
                self._note_reason(moved, why)
        elif self._settings.after == "move":
            self._move(path, INSPECTED_DIR)

    def close(self) -> None:
        """See ``Camera``."""
        if self._inotify is not None:
            self._inotify.close()
            self._inotify = None

    def _take(self, stamp: FileStamp) -> Shot | None:
        path = Path(stamp.path)
        captured_ns, captured_at = time.monotonic_ns(), datetime.now(UTC)
        self._given[path] = stamp
        try:
            pixels = read_picture(path)
        except FileNotFoundError:
            log.warning("%s is gone before it was inspected", path)
            return None
        except (PictureError, OSError) as error:
            log.warning("%s: %s", path, error)
            self._unusable[stamp] = str(error)
            return Shot(fault=Unusable("unreadable", str(error), path.name), stamp=stamp)
        self._seq += 1
        return Shot(Frame(pixels, self._seq, captured_ns, captured_at, str(self._folder), path.name), stamp=stamp)

    def _scan(self) -> None:
        """Looks at every file; those at rest are ready, oldest first.

        Raises:
            CaptureError: if the folder is gone.
        """
        if not self._folder.is_dir():
            raise CaptureError(
                f"watch folder {self._folder} is gone",
                expected="the folder",
                got="nothing",
                remedy="Mount it or make it again; the service starts again by itself",
            )
        self._rescan_at_s = time.monotonic() + self._settings.rescan_s
        for path in self._walk(self._folder):
            self._look(path)
        self._look_again()

    def _walk(self, folder: Path) -> Iterator[Path]:
        self._watch(folder)
        try:
            entries = list(os.scandir(folder))
        except OSError as error:
            log.warning("%s cannot be listed: %s", folder, error.strerror)
            return
        for entry in entries:
            path = Path(entry.path)
            if self._ours(path):
                continue
            if entry.is_dir(follow_symlinks=False):
                yield from self._walk(path)
            else:
                yield path

    def _ours(self, path: Path) -> bool:
        """Whether a path is none of the line's: hidden, or put there by ourselves."""
        relative = path.relative_to(self._folder)
        return path.name.startswith(".") or relative.parts[0] in (REJECTED_DIR, INSPECTED_DIR)

    def _watch(self, folder: Path) -> None:
        if self._inotify is not None and folder not in self._watches.values():
            try:
                self._watches[self._inotify.add_watch(folder, _WATCHED)] = folder
            except OSError as error:
                log.warning("%s is not watched (%s): looking every %g s", folder, error, self._settings.rescan_s)

    def _look(self, path: Path) -> None:
        stamp = _stamp(path)
        if stamp is None or self._given.get(path) == stamp or path in self._resting:
            return
        if self._was_taken(stamp):
            self._given[path] = stamp
            if self._settings.after == "move":  # its record was written, but not its move
                self._move(path, INSPECTED_DIR)
            return
        age_s = time.time() - stamp.mtime_ns / 1e9
        rested_s = max(0.0, min(age_s, self._settings.settle_ms / 1000))
        self._resting[path] = _Look(stamp.size_bytes, stamp.mtime_ns, time.monotonic() - rested_s)

    def _look_again(self) -> None:
        """Moves the files that have rested long enough, and that nobody is writing, to the ready ones, oldest first."""
        now_s, ready = time.monotonic(), []
        for path, look in list(self._resting.items()):
            stamp = _stamp(path)
            if stamp is None:
                del self._resting[path]
            elif (stamp.size_bytes, stamp.mtime_ns) != (look.size_bytes, look.mtime_ns):
                self._resting[path] = _Look(stamp.size_bytes, stamp.mtime_ns, now_s)
            elif now_s - look.since_s >= self._settings.settle_ms / 1000 and not _being_written(path):
                del self._resting[path]
                ready.append(stamp)
        for stamp in sorted(ready, key=lambda s: (s.mtime_ns, s.path)):
            self._ready[Path(stamp.path)] = stamp

    def _wait(self, timeout_s: float) -> None:
        """Until the kernel tells of a file, a resting one may be whole, a rescan is due, or the time is up."""
        if self._resting:
            timeout_s = min(timeout_s, self._settings.settle_ms / 4000)
        if time.monotonic() >= self._rescan_at_s:
            self._scan()
            return
        if self._inotify is None:
            time.sleep(timeout_s)
            return
        for event in self._inotify.read(timeout=max(1, int(timeout_s * 1000))):
            self._told(event.wd, event.mask, event.name)

    def _told(self, watch: int, mask: int, name: str) -> None:
        if mask & flags.Q_OVERFLOW:
            self._rescan_at_s = 0.0
            return
        folder = self._watches.get(watch)
        if mask & flags.IGNORED:
            if self._watches.pop(watch, None) == self._folder:
                self._rescan_at_s = 0.0
            return
        if folder is None or self._once:  # once: what comes later is for the next run
            return
        path = folder / name
        if self._ours(path):
            return
        if mask & flags.ISDIR:
            for inside in self._walk(path):
                self._look(inside)
        elif mask & (flags.CLOSE_WRITE | flags.MOVED_TO):
            self._whole(path)

    def _whole(self, path: Path) -> None:
        """The kernel has said that nobody writes this file any more."""
        self._resting.pop(path, None)
        stamp = _stamp(path)
        if stamp is None or self._given.get(path) == stamp or self._was_taken(stamp):
            return
        if _being_written(path):  # by a second writer
            self._look(path)
        else:
            self._ready[path] = stamp

    def _move(self, path: Path, into: str) -> Path | None:
        """Moves a file aside, with a number where its name is taken; one that cannot be moved stays, and is said."""
        target = self._folder / into / path.name
        try:
            target.parent.mkdir(exist_ok=True)
            number = 1
            while target.exists():
                target = target.with_name(f"{path.stem}.{number}{path.suffix}")
                number += 1
            path.rename(target)
        except OSError as error:
            log.warning("%s stays where it is, it cannot be moved to %s: %s", path, target.parent, error.strerror)
            return None
        self._given.pop(path, None)
        return target

    def _note_reason(self, moved: Path, why: str) -> None:
        line = f"{datetime.now(UTC).isoformat(timespec='seconds')} {moved.name}: {why}\n"
        try:
            with (moved.parent / REASONS_FILE).open("a", encoding="utf-8", errors="backslashreplace") as file:
                file.write(line)
        except OSError as error:
            log.warning("%s cannot be written: %s", REASONS_FILE, error.strerror)


def _stamp(path: Path) -> FileStamp | None:
    """Of a regular file; None for anything else, and for what is gone."""
    try:
        status = path.stat()
    except OSError:
        return None
    if not stat.S_ISREG(status.st_mode):
        return None
    return FileStamp(str(path), status.st_size, status.st_mtime_ns)


def _being_written(path: Path) -> bool:
    """Whether someone has a file open for writing: the kernel then refuses a read lease (fcntl(2), F_SETLEASE).

    False where the kernel cannot tell: a network share, or a file of another user.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    except OSError:
        return False
    try:
        fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_RDLCK)
        fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    except OSError as error:
        return error.errno == errno.EAGAIN
    finally:
        os.close(descriptor)
    return False
