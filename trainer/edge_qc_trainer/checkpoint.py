"""Where a run of ``fit`` stands, kept beside its results epoch by epoch, so that one that was stopped goes on.

The folder is ``OUT.partial``. Each network of a run has a file in it: ``checkpoint-fold-1.npz`` and so on, and
``checkpoint-model.npz`` for the one that ships. A file holds numpy arrays alone, so any backend of Keras reads it.
"""

import hashlib
import json
import os
import zipfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

# What a checkpoint means: another number for every change that gives the same arrays another meaning.
_FORMAT = 1

Arrays = list[np.ndarray]


@dataclass(frozen=True, slots=True, eq=False)
class State:
    """A fit at the end of an epoch.

    Attributes:
        epochs: the figures of each epoch so far, for JSON.
        best: number of the best epoch, from 1; 0 before the first.
        done: whether no epoch is to come.
        variables: of the network, its sources of chance and the optimizer, the averaged weights among them.
        best_weights: of the network after the best epoch; none where no validation chooses it.
    """

    epochs: list[dict[str, Any]] = field(default_factory=list)
    best: int = 0
    done: bool = False
    variables: Arrays = field(default_factory=list)
    best_weights: Arrays = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The checkpoint of one network.

    Attributes:
        file: where it lies.
        key: of all that the fit depends on: a file with another key is not taken up.
        name: of the network, for the lines that are said.
        say: takes a line of text.
    """

    file: Path
    key: str
    name: str = "model"
    say: Callable[[str], object] = lambda _text: None

    def load(self, epochs: int) -> State | None:
        """The state to go on from, None where there is none; says which it is.

        Args:
            epochs: how many there will be at most, for the line that is said.
        """
        if not self.file.is_file():
            return None
        try:
            state = self._read()
        except (OSError, ValueError, KeyError, zipfile.BadZipFile, EOFError):
            self.say(f"{self.file} is damaged: {self.name} begins anew")
            return None
        if state is None:
            self.say(f"{self.file} is of other data, options or versions: {self.name} begins anew")
        elif state.done:
            self.say(f"{self.name} is fitted already; --restart begins anew")
        else:
            self.say(f"{self.name} resumes at epoch {len(state.epochs) + 1} of {epochs}; --restart begins anew")
        return state

    def _read(self) -> State | None:
        # Opened here: numpy leaves a file open that turns out to be no archive.
        with self.file.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            about = json.loads(str(arrays["about"]))
            if about["key"] != self.key:
                return None
            variables = [arrays[f"variable{place}"] for place in range(about["variables"])]
            best_weights = [arrays[f"best{place}"] for place in range(about["best_weights"])]
        return State(about["epochs"], about["best"], about["done"], variables, best_weights)

    def save(self, state: State) -> None:
        """Writes the state in place of the one before; after a power cut the file holds one of the two, whole.

        Raises:
            OSError: if the disk is full or cannot be written.
        """
        about = {
            "key": self.key,
            "epochs": state.epochs,
            "best": state.best,
            "done": state.done,
            "variables": len(state.variables),
            "best_weights": len(state.best_weights),
        }
        arrays = {f"variable{place}": array for place, array in enumerate(state.variables)}
        arrays |= {f"best{place}": array for place, array in enumerate(state.best_weights)}
        self.file.parent.mkdir(parents=True, exist_ok=True)
        draft = self.file.with_name(f"{self.file.name}.draft")
        try:
            with draft.open("wb") as file:
                np.savez(file, about=np.array(json.dumps(about)), **arrays)  # type: ignore[arg-type] # no allow_pickle
                file.flush()
                os.fsync(file.fileno())
            draft.replace(self.file)
        finally:
            draft.unlink(missing_ok=True)
        folder = os.open(self.file.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


@dataclass(frozen=True, slots=True)
class Checkpoints:
    """The checkpoints of a run.

    Attributes:
        folder: where they lie; None keeps none.
        say: takes a line of text.
    """

    folder: Path | None = None
    say: Callable[[str], object] = lambda _text: None

    def of(self, name: str, *depends_on: object) -> Checkpoint | None:
        """The checkpoint of one network, None where none is kept.

        Args:
            name: of the network, such as ``fold 2``.
            depends_on: all that the fit depends on: arrays, and what has a ``repr`` that says all.
        """
        if self.folder is None:
            return None
        key = hashlib.sha256(f"{_FORMAT} {name}".encode())
        for thing in depends_on:
            key.update(b"\0")
            key.update(np.ascontiguousarray(thing).tobytes() if isinstance(thing, np.ndarray) else repr(thing).encode())
        file = self.folder / f"checkpoint-{name.replace(' ', '-')}.npz"
        return Checkpoint(file, key.hexdigest(), name, self.say)

    def remove(self) -> None:
        """Removes what is kept: after a run that is complete, or before one that is to begin anew."""
        if self.folder is None or not self.folder.is_dir():
            return
        for file in self.folder.glob("checkpoint-*.npz*"):
            file.unlink()
        with suppress(OSError):  # something of somebody else's lies in it
            self.folder.rmdir()


def folder_of(out: Path) -> Path:
    """Where the checkpoints of a run that writes into ``out`` lie."""
    out = out.absolute()
    return out.with_name(f"{out.name}.partial")


def how_to_go_on(out: Path) -> str:
    """A line for one who has stopped a run."""
    if any(folder_of(out).glob("checkpoint-*.npz")):
        return f"stopped; the same command goes on after the last whole epoch, kept in {folder_of(out)}"
    return "stopped before an epoch was whole; nothing was written"
