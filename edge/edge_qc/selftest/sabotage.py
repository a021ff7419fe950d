"""Runs edge-qc with faults inside the process: `python -m edge_qc.selftest.sabotage FOLDER COMMAND…`.

A fault is armed by a file in FOLDER, so that it can be switched while the daemon runs:

- ``raise-on_publish``: the next call of the client library's callback of that name raises, once. ``set-…`` says that
  the callback is in use, ``raised-…`` that it has raised.
- ``read-only``: nothing can be written, as after a file system's fault. The kernel refuses to remount a file system
  under an open database, so it is done here: `PRAGMA query_only` for SQLite, EROFS for every other file.
"""

import errno
import os
import runpy
import select
import sqlite3
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import paho.mqtt.client as mqtt

POLL_S = 0.02
READ_ONLY = "read-only"
CALLBACKS = tuple(sorted(name for name in vars(mqtt.Client) if name.startswith("on_") and name != "on_log"))
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
_CHANGES = {"os.mkdir", "os.rename", "os.remove", "os.link", "os.symlink", "os.truncate", "os.rmdir"}


class SabotageError(Exception):
    """What a callback raises."""


def main() -> None:
    """Sets the traps and runs edge-qc."""
    folder = Path(sys.argv[1])
    for name in CALLBACKS:
        set_trap(folder, name)
    if "faketime" in os.environ.get("LD_PRELOAD", ""):
        time.sleep = _sleep  # type: ignore[assignment]
    sys.argv = ["edge-qc", *sys.argv[2:]]
    _make_read_only(folder / READ_ONLY, sys.argv[sys.argv.index("--data-dir") + 1])
    runpy.run_module("edge_qc", run_name="__main__", alter_sys=True)


def _sleep(seconds: float) -> None:
    """Sleeps relatively: libfaketime 0.9.10 refuses the absolute `clock_nanosleep` that Python sleeps by (EINVAL)."""
    select.select([], [], [], seconds)


def set_trap(folder: Path, name: str) -> None:
    """Makes a callback raise once, each time that its file is there, whoever sets it."""
    real = vars(mqtt.Client)[name]

    def set_callback(client: mqtt.Client, callback: Callable[..., Any] | None) -> None:
        if callback is None:
            real.fset(client, None)
            return
        (folder / f"set-{name}").touch()

        def trapped(*args: Any, **named: Any) -> Any:  # noqa: ANN401 - the library's own
            if _take(folder / f"raise-{name}"):
                (folder / f"raised-{name}").touch()
                raise SabotageError(name)
            return callback(*args, **named)

        real.fset(client, trapped)

    setattr(mqtt.Client, name, property(real.fget, set_callback))


def _take(armed: Path) -> bool:
    try:
        armed.unlink()
    except FileNotFoundError:
        return False
    return True


def _make_read_only(armed: Path, data_dir: str) -> None:
    """Follows the file ``armed``: while it is there nothing under ``data_dir`` can be written."""
    databases: list[sqlite3.Connection] = []
    connect = sqlite3.connect

    def remembering(*args: Any, **named: Any) -> sqlite3.Connection:  # noqa: ANN401 - the library's own
        database: sqlite3.Connection = connect(*args, **named)
        if named.get("check_same_thread") is False:  # readers need no stopping, and bear no other thread
            databases.append(database)
            database.execute(f"PRAGMA query_only={int(armed.exists())}")
        return database

    sqlite3.connect = remembering  # type: ignore[assignment]
    state = [False]

    def follow() -> None:
        while True:
            time.sleep(POLL_S)
            if armed.exists() != state[0]:
                state[0] = not state[0]
                for database in tuple(databases):
                    _set_query_only(database, on=state[0])

    def refuse(event: str, args: tuple[Any, ...]) -> None:
        changes = event in _CHANGES or (event == "open" and _writes(args))
        if state[0] and changes and str(args[0]).startswith(data_dir):
            raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(args[0]))

    sys.addaudithook(refuse)
    threading.Thread(target=follow, name="sabotage", daemon=True).start()


def _set_query_only(database: sqlite3.Connection, *, on: bool) -> None:
    try:
        database.execute(f"PRAGMA query_only={int(on)}")
    except sqlite3.Error:  # closed meanwhile
        return


def _writes(args: tuple[Any, ...]) -> bool:
    """Whether an ``open`` event (path, mode, flags) is for writing."""
    return bool(args[2] & _WRITES) if isinstance(args[2], int) else False


if __name__ == "__main__":
    main()
