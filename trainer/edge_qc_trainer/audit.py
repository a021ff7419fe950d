"""Reads a dataset as a suspicious engineer would: what is broken, what is there twice, what gives the class away."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from edge_qc_trainer.audit_checks import CHECKS, Evidence, Finding, Level
from edge_qc_trainer.audit_pictures import Picture, find_sets, look_at
from edge_qc_trainer.confounds import Confound, find_confounds
from edge_qc_trainer.dataset import IntArray, fingerprint_of
from edge_qc_trainer.errors import DataError
from edge_qc_trainer.groups import group_identical, group_rings
from edge_qc_trainer.job import Progress

THRESHOLD = 0.88
"""Correlation from which two pictures show the same part. ``fit`` asks for more; copies in other light count here."""


@dataclass(frozen=True, slots=True, eq=False)
class Audit:
    """What was looked at and what was found.

    Attributes:
        evidence: what the checks looked at.
        labels: the classes of all sets.
        threshold: correlation from which two pictures show the same part.
        findings: of every check, the clean ones too.
        seconds: wall time.
    """

    evidence: Evidence
    labels: tuple[str, ...]
    threshold: float
    findings: tuple[Finding, ...]
    seconds: float

    def count(self, level: Level) -> int:
        """How many checks came out so."""
        return sum(finding.level == level for finding in self.findings)

    @property
    def fingerprint(self) -> str:
        """SHA-256 over the sorted hashes of all whole pictures' files: the same ones give the same one."""
        return fingerprint_of(picture.file_hash for picture in self.evidence.pictures)


def audit(
    data: Path, against: Path | None = None, threshold: float = THRESHOLD, progress: Progress | None = None
) -> Audit:
    """Looks at a dataset.

    Args:
        data: a folder for each class, or ``train/`` and ``test/`` that hold such folders.
        against: another dataset that must not share a part with it.
        threshold: correlation from which two pictures show the same part, 0 to 1.
        progress: where to tell how far it is.

    Raises:
        DataError: if a folder has no class folders, an empty one, or no picture at all that can be read.
    """
    began, progress = time.monotonic(), progress or Progress()
    sets = find_sets(data, against)
    files = [file for one in sets for file in one.files]
    pictures, broken = look_at(files, progress.counter("reading", len(files)))
    if not pictures:
        raise DataError(
            f"no file in {data} is a whole picture",
            expected="JPEG, PNG, BMP, TIFF or WebP pictures",
            got=f"{len(broken)} files, the first: {broken[0].reason}",
            remedy="Check that the folder was copied whole",
        )
    labels = tuple(sorted({file.label for file in files}))
    groups = _group(pictures, threshold, progress)
    evidence = Evidence(sets, tuple(pictures), tuple(broken), groups, ())
    evidence = replace(evidence, confounds=_confounds(evidence, labels, progress))
    findings = tuple(finding for check in CHECKS for finding in check(evidence))
    return Audit(evidence, labels, threshold, findings, time.monotonic() - began)


def _group(pictures: Sequence[Picture], threshold: float, progress: Progress) -> IntArray:
    """By part; a picture that the device would refuse shows none, and is grouped with identical ones only."""
    progress.say(f"looking for near copies among {len(pictures)} pictures")
    groups = group_identical([picture.pixel_hash for picture in pictures])
    fit = np.array([place for place, picture in enumerate(pictures) if not picture.unfit], np.int64)
    if len(fit):
        groups = group_rings(np.stack([pictures[place].ring for place in fit]), groups, threshold, fit)
    return groups


def _confounds(evidence: Evidence, labels: Sequence[str], progress: Progress) -> tuple[Confound, ...]:
    progress.say("looking for what gives the class away without the part")
    places = evidence.audited
    audited = [evidence.pictures[place] for place in places]
    targets = np.array([labels.index(picture.file.label) for picture in audited], np.int64)
    return tuple(find_confounds(audited, targets, evidence.groups[places], labels))
