"""What the commands are given and write: options that are numbers, and files that are whole or absent."""

import errno
import math
import os
import tempfile
from pathlib import Path
from typing import Any

import click

from edge_qc.errors import EdgeQcError
from edge_qc_trainer.errors import OutputError, SpaceError


class Finite(click.FloatRange):
    """A number in a range, which ``nan`` and infinity are not."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The number; click's ``BadParameter`` otherwise."""
        number = super().convert(value, param, ctx)
        return number if math.isfinite(number) else self.fail(f"{value} is not a number.", param, ctx)


class OutputFile(click.Path):
    """A file to write, in a folder that is there: asked before the work, not after it."""

    def __init__(self) -> None:
        super().__init__(path_type=Path, dir_okay=False, writable=True)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The path; click's ``BadParameter`` where no file can be written."""
        path = Path(os.fsdecode(super().convert(value, param, ctx)))
        if path.exists() and not path.is_file():  # a device or a pipe
            return path
        folder = path.resolve().parent
        if not folder.is_dir():
            self.fail(f"{path}: expected a folder {folder} to write it into, got none. Make it first.", param, ctx)
        if not os.access(folder, os.W_OK):
            self.fail(f"{path}: expected a folder that may be written to, got {folder}.", param, ctx)
        return path


def write_whole(path: Path, text: str) -> None:
    """Writes a file so that it is whole or as it was before; a device or a pipe is written to as it is.

    Args:
        path: the file.
        text: what stands in it then, as UTF-8; what is left of a file name that is not UTF-8 stands as an escape.

    Raises:
        OSError: if it cannot be written.
    """
    path, data = path.resolve(), text.encode("utf-8", "backslashreplace")
    if path.exists() and not path.is_file():
        path.write_bytes(data)
        return
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with draft.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


def explained(error: OSError) -> EdgeQcError:
    """What an error of the operating system means for the one who gave the command."""
    at = error.filename or "the output"
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return SpaceError(
            "no space left",
            expected=f"room for what is written, and for temporary files in {tempfile.gettempdir()}",
            got=f"{error.strerror} at {at}",
            remedy="Make room, or write to another disk, and set TMPDIR to one",
        )
    return OutputError(
        f"{at} cannot be read or written",
        expected="a path that leads to it, and the right to use it",
        got=error.strerror or str(error),
        remedy="Check the path, its rights and the disk",
    )
