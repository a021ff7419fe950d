"""The reference of the drift chart, kept from run to run: a lamp ages over months, and no station runs that long."""

import json
import logging
import os
from dataclasses import asdict
from pathlib import Path

from edge_qc.drift import WATCHED, Reference

log = logging.getLogger(__name__)

REFERENCE_FILE = "drift-reference.json"


class ReferenceFile:
    """``drift-reference.json`` in the data folder.

    Args:
        folder: the data folder.
        conditions: what the reference holds for, such as the model and the source; with others it is learned anew.
    """

    def __init__(self, folder: Path, conditions: dict[str, str]) -> None:
        self._path, self._conditions = folder / REFERENCE_FILE, conditions

    def load(self) -> dict[str, Reference] | None:
        """The references of an earlier run under these conditions; None where there are none that can be read."""
        try:
            kept = json.loads(self._path.read_text("utf-8"))
            if kept["conditions"] != self._conditions:
                return None
            return {name: Reference(**kept["references"][name]) for name in WATCHED}
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError) as error:
            log.warning("%s cannot be read, so drift is measured from now on: %s", self._path, error)
            return None

    def save(self, references: dict[str, Reference]) -> None:
        """Keeps the references. A disk that fails must not stop the line: then the next run learns anew."""
        kept = {"conditions": self._conditions, "references": {name: asdict(r) for name, r in references.items()}}
        draft = self._path.with_suffix(".json.new")
        try:
            draft.write_text(json.dumps(kept, indent=2) + "\n", "utf-8")
            os.replace(draft, self._path)  # noqa: PTH105 - as atomic as it says
        except OSError as error:
            log.warning("%s cannot be written, so the next start learns drift anew: %s", self._path, error)
