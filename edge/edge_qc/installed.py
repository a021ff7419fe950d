"""Bundles on the device: installed side by side, one of them current, the one before it kept for a way back."""

import os
import shutil
from pathlib import Path

from edge_qc.bundle import SHIPPED, Bundle, load_bundle
from edge_qc.errors import BundleError

CURRENT, PREVIOUS = "current", "previous"


class InstalledBundles:
    """The folder ``models/`` of the data folder.

    Args:
        data_dir: the data folder.
    """

    def __init__(self, data_dir: Path) -> None:
        self._folder = data_dir / "models"

    def current(self) -> Path:
        """The installed current bundle, else the one that ships."""
        return self._target(CURRENT) or SHIPPED

    def all(self) -> list[Path]:
        """Every installed bundle, by name."""
        return sorted(p for p in self._folder.glob("*") if p.is_dir() and not p.is_symlink())

    def install(self, source: Path) -> Bundle:
        """Verifies a bundle, copies it, and makes it current.

        Raises:
            BundleError: if its sums do not hold, or another bundle of that name and version is installed.
        """
        bundle = load_bundle(source)
        target = self._folder / bundle.card.id
        if target.exists() and load_bundle(target).model != bundle.model:
            raise BundleError(
                f"{bundle.card.id} is installed already, with another model",
                expected="a new version for a new model",
                got=str(target),
                remedy="Make the bundle with --model-version raised",
            )
        if not target.exists():
            draft = self._folder / f".{bundle.card.id}.{os.getpid()}"
            shutil.copytree(source, draft)
            draft.rename(target)
        self._make_current(target)
        return bundle

    def rollback(self) -> Path:
        """Makes the bundle before the current one current again.

        Raises:
            BundleError: if there is none, or its sums do not hold.
        """
        previous = self._target(PREVIOUS)
        if previous is None:
            raise BundleError(
                "there is no bundle to go back to",
                expected="two installs",
                got=f"{len(self.all())} installed",
                remedy="See edge-qc model list",
            )
        load_bundle(previous)
        self._make_current(previous)
        return previous

    def _make_current(self, target: Path) -> None:
        before = self._target(CURRENT)
        if before == target:
            return
        if before is not None:
            self._link(PREVIOUS, before)
        self._link(CURRENT, target)

    def _target(self, name: str) -> Path | None:
        link = self._folder / name
        return self._folder / link.readlink() if link.is_symlink() and link.exists() else None

    def _link(self, name: str, target: Path) -> None:
        """Renamed into place: at every instant the name leads to a whole bundle."""
        draft = self._folder / f".{name}.{os.getpid()}"
        draft.unlink(missing_ok=True)
        draft.symlink_to(target.name)
        draft.replace(self._folder / name)
