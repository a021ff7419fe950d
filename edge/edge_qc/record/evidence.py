"""Pictures of inspected parts, and the room they may take."""

import shutil
from collections import deque
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from edge_qc.domain import Inspection, Outcome, Pixels
from edge_qc.sections import Record

MB = 1_000_000
PNG_UP_TO_PIXELS = 1_000_000  # small pictures are kept exactly; large ones as JPEG, a tenth of the size
JPEG_QUALITY = 95
MARK = ".keep"


@dataclass(frozen=True, slots=True)
class Kept:
    """Paths of what was kept, relative to the data folder."""

    picture: str | None = None
    heatmap: str | None = None


class Evidence:
    """Writes pictures and prunes them. A picture with an empty file beside it, its name and ``.keep``, is never pruned.

    Args:
        data_dir: the data folder.
        settings: which pictures, how many bytes, how much free space.
    """

    def __init__(self, data_dir: Path, settings: Record) -> None:
        self._data_dir, self._settings = data_dir, settings
        self._owed_ok = 0.0
        self._good: deque[str] = deque()  # text is a third of a Path, and there may be a hundred thousand
        self._bad: deque[str] = deque()
        self._bytes = 0
        self._find_pictures()

    def keep(self, inspection: Inspection) -> Kept:
        """Writes the picture and the heatmap of a part, if its kind is kept and there is room.

        Raises:
            OSError: if the disk refuses.
        """
        frame = inspection.frame
        if frame is None or not self._wanted(inspection.verdict.outcome) or not self.has_room():
            return Kept()
        name = f"{inspection.session}-{inspection.part.seq}-{inspection.verdict.outcome}"
        day = inspection.decided_at.strftime("%Y-%m-%d")
        suffix = ".png" if frame.pixels.size <= PNG_UP_TO_PIXELS else ".jpg"
        picture = self._write(Path("pictures", day, name + suffix), frame.pixels)
        evidence = None if inspection.prediction is None else inspection.prediction.heatmap
        if evidence is None:
            return Kept(picture)
        levels = np.rint(evidence * 255).astype(np.uint8)
        return Kept(picture, self._write(Path("heatmaps", day, name + ".png"), levels))

    def has_room(self) -> bool:
        """Whether a picture may be written: there is a quota, and the free space is above its floor."""
        return self._settings.pictures_quota_mb > 0 and self._free_bytes() >= self._settings.free_floor_mb * MB

    def prune(self) -> list[str]:
        """Removes the oldest pictures until the rest fit; their paths, relative to the data folder.

        Those of ok parts go first. For the floor of free space they alone go: what fills a disk is mostly somebody
        else's, and the pictures of bad parts are what an auditor asks for.
        """
        pruned = []
        while self._bytes > self._settings.pictures_quota_mb * MB and (self._good or self._bad):
            pruned += self._remove((self._good or self._bad).popleft())
        while self._good and self._free_bytes() < self._settings.free_floor_mb * MB:
            pruned += self._remove(self._good.popleft())
        return pruned

    def _remove(self, picture: str) -> list[str]:
        full = self._data_dir / picture
        if full.with_name(full.name + MARK).exists():
            return []
        for victim in (full, (self._data_dir / "heatmaps").joinpath(*Path(picture).parts[1:]).with_suffix(".png")):
            if victim.is_file():
                self._bytes -= victim.stat().st_size
                victim.unlink()
        return [picture]

    def _free_bytes(self) -> int:
        return shutil.disk_usage(self._data_dir).free

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
            self._note(path)
        return str(path)

    def _note(self, picture: Path) -> None:
        (self._good if picture.stem.endswith(f"-{Outcome.OK}") else self._bad).append(str(picture))

    def _find_pictures(self) -> None:
        """What earlier sessions have left, oldest first."""
        found = [(p, p.stat()) for kind in ("pictures", "heatmaps") for p in (self._data_dir / kind).glob("*/*")]
        self._bytes = sum(status.st_size for _, status in found)
        for path, _ in sorted(found, key=lambda pair: pair[1].st_mtime_ns):
            relative = path.relative_to(self._data_dir)
            if relative.parts[0] == "pictures" and path.suffix != MARK:
                self._note(relative)
