"""Pictures of inspected parts, and the room they may take."""

import shutil
from collections import deque
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from edge_qc.config import Record
from edge_qc.domain import Inspection, Outcome, Pixels

MB = 1_000_000
PNG_UP_TO_PIXELS = 1_000_000  # small pictures are kept exactly; large ones as JPEG, a tenth of the size
JPEG_QUALITY = 95


@dataclass(frozen=True, slots=True)
class Kept:
    """Paths of what was kept, relative to the data folder."""

    picture: str | None = None
    heatmap: str | None = None


class Evidence:
    """Writes pictures and prunes them.

    Args:
        data_dir: the data folder.
        settings: which pictures, how many bytes, how much free space.
    """

    def __init__(self, data_dir: Path, settings: Record) -> None:
        self._data_dir, self._settings = data_dir, settings
        self._owed_ok = 0.0
        self._files, self._bytes = _find_pictures(data_dir)

    def keep(self, inspection: Inspection) -> Kept:
        """Writes the picture and the heatmap of a part, if its kind is kept and there is room.

        Raises:
            OSError: if the disk refuses.
        """
        frame = inspection.part.frame
        if frame is None or not self._wanted(inspection.verdict.outcome) or not self._has_room():
            return Kept()
        name = f"{inspection.session}-{inspection.part.seq}-{inspection.verdict.outcome}"
        day = inspection.decided_at.strftime("%Y-%m-%d")
        suffix = ".png" if frame.pixels.size <= PNG_UP_TO_PIXELS else ".jpg"
        picture = self._write(Path("pictures", day, name + suffix), frame.pixels)
        heatmap = None
        if inspection.prediction is not None and inspection.prediction.heatmap is not None:
            levels = np.rint(inspection.prediction.heatmap * 255).astype(np.uint8)
            heatmap = self._write(Path("heatmaps", day, name + ".png"), levels)
        return Kept(picture, heatmap)

    def prune(self) -> list[str]:
        """Removes pictures until they fit the quota, oldest ok ones first; their paths, relative to the data folder."""
        pruned = []
        while self._bytes > self._settings.pictures_quota_mb * MB and self._files:
            path = next((p for p in self._files if p.stem.endswith("-ok")), self._files[0])
            self._files.remove(path)
            for victim in (path, Path("heatmaps", *path.parts[1:]).with_suffix(".png")):
                full = self._data_dir / victim
                if full.is_file():
                    self._bytes -= full.stat().st_size
                    full.unlink()
            pruned.append(str(path))
        return pruned

    def _wanted(self, outcome: Outcome) -> bool:
        if outcome in self._settings.pictures_of:
            return True
        if outcome is not Outcome.OK:
            return False
        self._owed_ok += self._settings.ok_share  # every 1/share-th part: even, and without a dice
        if self._owed_ok < 1:
            return False
        self._owed_ok -= 1
        return True

    def _has_room(self) -> bool:
        free = shutil.disk_usage(self._data_dir).free
        return self._settings.pictures_quota_mb > 0 and free >= self._settings.free_floor_mb * MB

    def _write(self, path: Path, pixels: Pixels) -> str:
        """Whole or not at all: written beside, then renamed."""
        full = self._data_dir / path
        full.parent.mkdir(parents=True, exist_ok=True)
        settings = [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY] if path.suffix == ".jpg" else []
        _, data = cv2.imencode(path.suffix, pixels, settings)
        draft = full.with_name(f".{full.name}")
        draft.write_bytes(data.tobytes())
        draft.replace(full)
        self._bytes += len(data)
        if path.parts[0] == "pictures":
            self._files.append(path)
        return str(path)


def _find_pictures(data_dir: Path) -> tuple[deque[Path], int]:
    found = [p for kind in ("pictures", "heatmaps") for p in (data_dir / kind).glob("*/*") if p.is_file()]
    pictures = sorted((p for p in found if p.parent.parent.name == "pictures"), key=lambda p: p.stat().st_mtime_ns)
    return deque(p.relative_to(data_dir) for p in pictures), sum(p.stat().st_size for p in found)
