"""Which pictures a run was made of."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edge_qc_trainer.audit import audit
from edge_qc_trainer.config import Recipe
from edge_qc_trainer.dataset import Unreadable, find_files, load
from edge_qc_trainer.job import Job, Material
from edge_qc_trainer.sets import sets_of
from edge_qc_trainer.split import Split
from ring_parts import write_rings

NOTHING = np.array([], np.int64)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """``counted`` with 6 pictures and ``drawn`` with 4, half of them of each class."""
    root = tmp_path_factory.mktemp("sets")
    for name, parts in (("counted", 6), ("drawn", 4)):
        write_rings(root / name, ("ok", "def"), parts, 64, (32, 32, 9, 255))
    return root / "counted", root / "drawn"


def material(folders: tuple[Path, Path]) -> Material:
    files = [file for source, folder in enumerate(folders) for file in find_files(folder, source)]
    data = load(files, 64, "letterbox")
    return Material(data, np.arange(len(files)) // 2, Split(np.arange(len(files)), NOTHING, NOTHING))


def test_a_set_that_is_only_trained_on_is_told_from_one_that_is_judged(folders: tuple[Path, Path]) -> None:
    job = Job(data=folders[:1], distinct=folders[1:], recipe=Recipe(), folds=3)
    rows = sets_of(job, material(folders), judged=np.arange(6))
    assert [(row["set"], row["label"], row["pictures"], row["trained"], row["judged"]) for row in rows] == [
        ("counted", "def", 3, 3, 3),
        ("counted", "ok", 3, 3, 3),
        ("drawn", "def", 2, 2, 0),
        ("drawn", "ok", 2, 2, 0),
    ]
    assert [row["parts"] for row in rows] == [2, 2, 1, 1]


def test_each_set_has_the_fingerprint_that_its_audit_has(folders: tuple[Path, Path]) -> None:
    rows = sets_of(Job(data=folders, recipe=Recipe()), material(folders), NOTHING)
    assert {row["set"]: row["fingerprint"] for row in rows} == {
        folder.name: audit(folder).fingerprint for folder in folders
    }


def test_a_whole_picture_without_a_part_to_train_on_belongs_to_its_set(folders: tuple[Path, Path]) -> None:
    whole = material(folders)
    job, kept = Job(data=folders, recipe=Recipe()), np.arange(1, len(whole.dataset.files))
    data = replace(
        whole.dataset,
        files=whole.dataset.files[1:],
        targets=whole.dataset.targets[1:],
        hashes=whole.dataset.hashes[1:],
        unreadable=(Unreadable(whole.dataset.files[0].path, "no opening"),),
    )
    less = Material(data, whole.groups[kept], Split(NOTHING, NOTHING, NOTHING))
    before, after = (sets_of(job, one, NOTHING) for one in (whole, less))
    assert after[0]["pictures"] == before[0]["pictures"] - 1
    assert [row["fingerprint"] for row in after] == [row["fingerprint"] for row in before]
