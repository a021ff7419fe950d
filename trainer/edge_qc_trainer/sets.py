"""Which pictures a run was made of: by set and class, what was trained on and what was judged."""

from collections.abc import Iterable, Sequence

import numpy as np

from edge_qc.domain import printable
from edge_qc.errors import PictureError
from edge_qc.picture import read_picture
from edge_qc_trainer.dataset import IntArray, Unreadable, file_hash, fingerprint_of
from edge_qc_trainer.intervals import Figures
from edge_qc_trainer.job import Job, Material


def sets_of(job: Job, material: Material, judged: IntArray) -> list[Figures]:
    """A row for each class of each set.

    Args:
        job: what ``fit`` was asked for.
        material: the pictures, and what the model that ships was trained on.
        judged: the pictures that the figures rest on.

    Returns:
        ``set`` (its folder's name), ``label``, ``pictures``, ``parts``, ``fingerprint`` of the whole set, and how many
        pictures were ``trained`` on, chose the epoch (``validation``) and were ``judged``.
    """
    data, rows = material.dataset, []
    used = {"trained": material.split.train, "validation": material.split.validation, "judged": judged}
    for source, folder in enumerate(job.sets):
        of_set = np.flatnonzero(data.sources == source)
        skipped = [file for file in data.unreadable if folder in file.path.parents]
        fingerprint = fingerprint_of([*(data.hashes[place] for place in of_set), *_hashes_of_whole(skipped)])
        for label, places in by_class(material, of_set).items():
            row = {"set": printable(folder.resolve().name), "label": label, **counted(material, places)}
            counts = {name: int(np.isin(places, several).sum()) for name, several in used.items()}
            rows.append({**row, "fingerprint": fingerprint, **counts})
    return rows


def audited(audit: Figures, fingerprint: str, sets: Sequence[Figures]) -> list[str]:
    """Names of the sets of a run that an audit is of; none where it looked at other pictures.

    Args:
        audit: what ``edge-qc-train audit --json`` wrote.
        fingerprint: of all pictures of the run.
        sets: rows of ``sets_of``.
    """
    looked_at = {audit["fingerprint"], *(row["fingerprint"] for row in audit["sets"])}
    found = [row["set"] for row in sets if audit["fingerprint"] == fingerprint or row["fingerprint"] in looked_at]
    return list(dict.fromkeys(found))


def by_class(material: Material, places: IntArray) -> dict[str, IntArray]:
    """Those of the pictures that bear each label; a label that none bears is left out."""
    targets = material.dataset.targets[places]
    return {material.dataset.labels[target]: places[targets == target] for target in np.unique(targets)}


def counted(material: Material, places: IntArray) -> Figures:
    """How many ``pictures``, and of how many ``parts``."""
    return {"pictures": len(places), "parts": len(np.unique(material.groups[places]))}


def _hashes_of_whole(skipped: Iterable[Unreadable]) -> list[str]:
    """Of the whole pictures that showed no part to train on: an audit and ``evaluate`` count them to the set."""
    hashes = []
    for file in skipped:
        try:
            read_picture(file.path)
        except (PictureError, OSError):
            continue
        hashes.append(file_hash(file.path))
    return hashes
