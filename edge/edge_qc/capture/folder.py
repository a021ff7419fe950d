"""A watch folder: each file once, oldest first, and only when it is whole."""

import hashlib
import logging
import os
import stat
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Protocol

from inotify_simple import INotify, flags

from edge_qc.capture.base import EndOfSource, Shot
from edge_qc.capture.moving import being_written, move_aside, note_reason, set_aside
from edge_qc.domain import FileStamp, Frame, Unusable
from edge_qc.errors import CaptureError, PictureError
from edge_qc.picture import decode, read_file
from edge_qc.sections import Source

log = logging.getLogger(__name__)

SLICE_S = 0.01  # of a rescan, between two looks for news: a full folder must not silence the heartbeat
OPEN_AT_MOST_S = 60.0  # a file that nobody was seen to close, and of which the kernel cannot tell, counts as whole then
ONCE_PATIENCE_S = 10.0
_WATCHED = flags.CLOSE_WRITE | flags.MOVED_TO | flags.CREATE | flags.MODIFY


class Ledger(Protocol):
    """What is known of files from earlier runs."""

    def was_taken(self, stamp: FileStamp) -> bool:
        """Whether this version of a file has its record."""
        ...

    def digests(self, path: str, size_bytes: int) -> set[bytes]:
        """Digests of the versions of a file of this size that have their records."""
        ...


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
        ledger: what is known from earlier runs.
        ignore: a folder that is not looked into: the station's own data, where it lies inside.
        once: end when everything that was there at ``open`` has been given.
    """

    def __init__(
        self, folder: Path, settings: Source, ledger: Ledger, *, ignore: Path | None = None, once: bool = False
    ) -> None:
        self._folder, self._settings, self._ledger, self._once = folder.resolve(), settings, ledger, once
        self._ignore = None if ignore is None else ignore.resolve()
        self._inotify: INotify | None = None
        self._watches: dict[int, Path] = {}
        self._resting: dict[Path, _Look] = {}
        self._open: dict[Path, float] = {}
        self._ready: dict[Path, FileStamp] = {}
        self._known: dict[Path, FileStamp] = {}
        self._unusable: dict[FileStamp, str] = {}
        self._scan: Iterator[Path] | None = None
        self._seen: set[Path] = set()
        self._rescan_at_s = 0.0
        self._give_up_at_s = 0.0
        self._seq = 0

    def open(self) -> None:
        """See ``Camera``."""
        _check_folder(self._folder)
        try:
            self._inotify = INotify()
        except OSError as error:
            log.warning("the kernel gives no file events (%s): looking every %g s", error, self._settings.rescan_s)
        self._give_up_at_s = time.monotonic() + self._settings.settle_ms / 1000 + ONCE_PATIENCE_S
        self._go_on_scanning(float("inf"))

    def read(self, timeout_s: float) -> Shot | None:
        """See ``Camera``. A file comes unread (``Shot.load``); one that is no picture turns out to be a fault then."""
        until_s = time.monotonic() + timeout_s
        while True:
            while self._ready:
                path, stamp = next(iter(self._ready.items()))
                del self._ready[path]
                shot = self._take(path, stamp)
                if shot is not None:
                    return shot
            self._settle()
            if self._ready:
                continue
            if self._once and self._nothing_left():
                raise EndOfSource
            left_s = until_s - time.monotonic()
            if left_s <= 0:
                return None
            self._wait(left_s)

    def release(self, stamp: FileStamp) -> None:
        """See ``Camera``: a file that is no picture goes to ``rejected-files/``, others by config.

        A file that was replaced meanwhile stays: it is the next part's.
        """
        why = self._unusable.pop(stamp, None)
        if why is None and self._settings.after != "move":
            return
        path = Path(stamp.path)
        now = _stamp(path)
        if now is None or (now != stamp and _digest_of(path) != stamp.digest):
            return
        moved = move_aside(path, self._folder, rejected=why is not None)
        if moved is not None:
            self._known.pop(path, None)
            if why is not None:
                note_reason(moved, why)

    def close(self) -> None:
        """See ``Camera``."""
        if self._inotify is not None:
            self._inotify.close()
            self._inotify = None

    def _take(self, path: Path, stamp: FileStamp) -> Shot | None:
        if _stamp(path) is None:
            log.warning("%s is gone before it was inspected", path)
            return None
        self._known[path] = stamp
        # Reading may hang on a network share, and decoding may take long: the part's deadline runs from here.
        return Shot(stamp=stamp, load=partial(self._load, path, stamp, time.monotonic_ns(), datetime.now(UTC)))

    def _load(self, path: Path, stamp: FileStamp, captured_ns: int, captured_at: datetime) -> Shot:
        try:
            data = read_file(path)
            stamp = replace(stamp, digest=_digest(data))
            self._known[path] = stamp
            pixels = decode(data, path.name)
        except (PictureError, OSError) as error:
            log.warning("%s: %s", path, error)
            self._unusable[stamp] = str(error)
            return Shot(fault=Unusable("unreadable", str(error), path.name), stamp=stamp)
        self._seq += 1
        return Shot(Frame(pixels, self._seq, captured_ns, captured_at, str(self._folder), path.name), stamp=stamp)

    def _nothing_left(self) -> bool:
        if self._resting and time.monotonic() > self._give_up_at_s:
            for path in self._resting:
                log.warning("%s is still being written: left for the next run", path)
            self._resting.clear()
        return not self._resting and self._scan is None

    def _go_on_scanning(self, for_s: float) -> None:
        """Looks at files one by one, for a while; where it was cut off it goes on the next time."""
        if self._scan is None:
            if not self._folder.is_dir():
                raise CaptureError(
                    f"watch folder {self._folder} is gone",
                    expected="the folder",
                    got="nothing",
                    remedy="Mount it or make it again; the service starts again by itself",
                )
            self._scan, self._seen = self._walk(self._folder), set()
        end_s = time.monotonic() + for_s
        for path in self._scan:
            self._seen.add(path)
            self._look(path)
            if time.monotonic() > end_s:
                return
        self._scan = None
        self._rescan_at_s = time.monotonic() + self._settings.rescan_s
        self._known = {path: stamp for path, stamp in self._known.items() if path in self._seen}
        self._seen = set()

    def _walk(self, folder: Path) -> Iterator[Path]:
        self._watch(folder)
        try:
            with os.scandir(folder) as entries:
                for entry in entries:
                    path = Path(entry.path)
                    if self._not_the_lines(path):
                        continue
                    if entry.is_dir(follow_symlinks=False):
                        yield from self._walk(path)
                    else:
                        yield path
        except OSError as error:
            log.warning("%s cannot be listed: %s", folder, error.strerror)

    def _not_the_lines(self, path: Path) -> bool:
        """Hidden, put there by ourselves, or the station's own data."""
        return path.name.startswith(".") or set_aside(path, self._folder) or path == self._ignore

    def _watch(self, folder: Path) -> None:
        if self._inotify is not None and folder not in self._watches.values():
            try:
                self._watches[self._inotify.add_watch(folder, _WATCHED)] = folder
            except OSError as error:
                log.warning("%s is not watched (%s): looking every %g s", folder, error, self._settings.rescan_s)

    def _look(self, path: Path) -> None:
        """Of a file that was found: it is known, or it shall rest until it is seen to be whole."""
        stamp = _stamp(path)
        if stamp is None or self._known.get(path) == stamp or path in self._resting or path in self._ready:
            return
        if self._ledger.was_taken(stamp) or self._same_content(path, stamp):
            if self._settings.after == "move":  # its record was written, but not its move
                move_aside(path, self._folder, rejected=False)
            return
        age_s = time.time() - stamp.mtime_ns / 1e9
        rested_s = max(0.0, min(age_s, self._settings.settle_ms / 1000))
        self._resting[path] = _Look(stamp.size_bytes, stamp.mtime_ns, time.monotonic() - rested_s)

    def _same_content(self, path: Path, stamp: FileStamp) -> bool:
        """Whether a file with a new time is a known one: copying tools set the time after they have closed the file."""
        before = self._known.get(path)
        digests = self._ledger.digests(stamp.path, stamp.size_bytes)
        if before is not None and before.size_bytes == stamp.size_bytes:
            digests = digests | {before.digest}
        digest = _digest_of(path) if digests - {b""} else b""
        if not digest or digest not in digests:
            return False
        self._known[path] = replace(stamp, digest=digest)
        return True

    def _settle(self) -> None:
        """Moves the files that have rested long enough, and that nobody is writing, to the ready ones, oldest first."""
        now_s, ready = time.monotonic(), []
        for path, look in list(self._resting.items()):
            stamp = _stamp(path)
            if stamp is None:
                del self._resting[path]
            elif (stamp.size_bytes, stamp.mtime_ns) != (look.size_bytes, look.mtime_ns):
                self._resting[path] = _Look(stamp.size_bytes, stamp.mtime_ns, now_s)
            elif now_s - look.since_s >= self._settings.settle_ms / 1000 and self._whole(path, now_s):
                del self._resting[path]
                ready.append(stamp)
        for stamp in sorted(ready, key=lambda s: (s.mtime_ns, s.path)):
            self._ready[Path(stamp.path)] = stamp

    def _whole(self, path: Path, now_s: float) -> bool:
        """Whether a file at rest is finished; the kernel's word first, then what was heard of it."""
        written = being_written(path)
        if written is None:
            return now_s - self._open.get(path, 0.0) > OPEN_AT_MOST_S
        return not written

    def _wait(self, timeout_s: float) -> None:
        """Until the kernel tells of a file, a resting one may be whole, a rescan is due, or the time is up."""
        if self._scan is not None or time.monotonic() >= self._rescan_at_s:
            self._go_on_scanning(SLICE_S)
            timeout_s = 0.0
        elif self._resting:
            timeout_s = min(timeout_s, self._settings.settle_ms / 4000)
        if self._inotify is None:
            time.sleep(timeout_s)
            return
        for event in self._inotify.read(timeout=int(timeout_s * 1000)):
            self._told(event.wd, event.mask, event.name)

    def _told(self, watch: int, mask: int, name: str) -> None:
        if mask & flags.Q_OVERFLOW:
            self._rescan_at_s = 0.0
            return
        if mask & flags.IGNORED:
            if self._watches.pop(watch, None) == self._folder:
                self._rescan_at_s = 0.0
            return
        folder = self._watches.get(watch)
        if folder is None or self._once:  # once: what comes later is for the next run
            return
        path = folder / name
        if self._not_the_lines(path):
            return
        if mask & flags.ISDIR:
            for inside in self._walk(path):
                self._look(inside)
        elif mask & (flags.CREATE | flags.MODIFY):
            self._open[path] = time.monotonic()
        elif mask & flags.MOVED_TO or self._open.pop(path, None) is not None:
            self._finished(path)

    def _finished(self, path: Path) -> None:
        """The kernel has said that a file has come or was written, and that its writer has closed it."""
        self._resting.pop(path, None)
        self._open.pop(path, None)
        stamp = _stamp(path)
        if stamp is None or self._known.get(path) == stamp:
            return
        if being_written(path):  # by a second writer
            self._look(path)
        else:
            self._ready[path] = stamp


def _check_folder(folder: Path) -> None:
    if not folder.is_dir():
        raise CaptureError(
            f"no watch folder at {folder}",
            expected="a folder",
            got="a file" if folder.exists() else "nothing",
            remedy="Make it, or give --source the right one",
        )
    if not os.access(folder, os.R_OK | os.X_OK):
        raise CaptureError(
            f"watch folder {folder} cannot be read",
            expected="permission to list it and to open its files",
            got=f"mode {stat.filemode(folder.stat().st_mode)} for user {os.geteuid()}",
            remedy="Give the user of edge-qc read permission",
        )


def _stamp(path: Path) -> FileStamp | None:
    """Of a regular file; None for anything else, and for what is gone."""
    try:
        status = path.stat()
    except OSError:
        return None
    if not stat.S_ISREG(status.st_mode):
        return None
    return FileStamp(str(path), status.st_size, status.st_mtime_ns)


def _digest(data: bytes) -> bytes:
    return hashlib.blake2b(data, digest_size=16).digest()


def _digest_of(path: Path) -> bytes:
    """Of what is in a file now; empty where it cannot be read."""
    try:
        return _digest(read_file(path))
    except (PictureError, OSError):
        return b""
