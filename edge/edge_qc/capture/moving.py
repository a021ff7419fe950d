"""What is done to the files of a watch folder: asked who writes them, and moved aside."""

import errno
import fcntl
import logging
import os
from datetime import UTC, datetime
from pathlib import Path

log = logging.getLogger(__name__)

REJECTED_DIR = "rejected-files"
INSPECTED_DIR = "inspected-files"
REASONS_FILE = "reasons.txt"


def being_written(path: Path) -> bool | None:
    """Whether someone has a file open for writing: the kernel then refuses a read lease (fcntl(2), F_SETLEASE).

    None where the kernel cannot tell: a network share, or a file of another user.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    except OSError:
        return False
    try:
        fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_RDLCK)
        fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    except OSError as error:
        return True if error.errno == errno.EAGAIN else None
    finally:
        os.close(descriptor)
    return False


def set_aside(path: Path, folder: Path) -> bool:
    """Whether a path lies where ``move_aside`` puts files."""
    return path.relative_to(folder).parts[0] in (REJECTED_DIR, INSPECTED_DIR)


def move_aside(path: Path, folder: Path, *, rejected: bool) -> Path | None:
    """Moves a file into its folder inside ``folder``, with a number where its name is taken.

    Returns:
        Where it is now; None if it could not be moved: it stays then, and that is said.
    """
    target = folder / (REJECTED_DIR if rejected else INSPECTED_DIR) / path.name
    try:
        target.parent.mkdir(exist_ok=True)
        number = 1
        while target.exists() or target.name == REASONS_FILE:
            target = target.with_name(f"{path.stem}.{number}{path.suffix}")
            number += 1
        path.rename(target)
    except OSError as error:
        log.warning("%s stays where it is, it cannot be moved to %s: %s", path, target.parent, error.strerror)
        return None
    return target


def note_reason(moved: Path, why: str) -> None:
    """Says in a line beside a rejected file why it is there."""
    line = f"{datetime.now(UTC).isoformat(timespec='seconds')} {moved.name}: {why}\n"
    try:
        with (moved.parent / REASONS_FILE).open("a", encoding="utf-8", errors="backslashreplace") as file:
            file.write(line)
    except OSError as error:
        log.warning("%s cannot be written: %s", REASONS_FILE, error.strerror)
