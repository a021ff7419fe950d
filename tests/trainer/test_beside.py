"""Runs with other seeds, side by side."""

import json
from pathlib import Path
from typing import Any

import pytest

from edge_qc_trainer import beside
from edge_qc_trainer.config import Augment, Recipe
from edge_qc_trainer.errors import DataError
from edge_qc_trainer.job import Job
from metrics_of_runs import made, measured


def job(*files: Path) -> Job:
    return Job(data=(Path("a"),), recipe=Recipe(), beside=files)


def write(path: Path, **changed: Any) -> Path:
    path.write_text(json.dumps({**measured(), "made": made(seed=1) | changed}))
    return path


def test_runs_of_other_seeds_are_read(tmp_path: Path) -> None:
    one, two = write(tmp_path / "1.json"), write(tmp_path / "2.json", seed=2)
    runs = beside.read(job(one, two))
    beside.check_pictures(runs, "ab")
    assert [beside.row(run, this=False)["seed"] for run in runs.values()] == [1, 2]


def test_a_row_counts_parts() -> None:
    row = beside.row({**measured(defective=4, good=5), "made": made(seed=3)}, this=True)
    assert (row["seed"], row["parts_right"], row["parts"], row["this"]) == (3, 7, 9, True)
    assert (row["escape"]["count"], row["escape"]["of"], row["overkill"]["of"]) == (1, 4, 5)


def test_the_same_seed_twice_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="expected another seed for each run; got seed 0 again"):
        beside.read(job(write(tmp_path / "0.json", seed=0)))
    with pytest.raises(DataError, match="got seed 1 again"):
        beside.read(job(write(tmp_path / "a.json"), write(tmp_path / "b.json")))


def test_a_run_of_another_recipe_is_refused_by_the_key_that_differs(tmp_path: Path) -> None:
    other = Recipe(epochs=Recipe().epochs + 1)
    with pytest.raises(DataError, match=f"expected epochs {Recipe().epochs}; got {other.epochs}"):
        beside.read(job(write(tmp_path / "a.json", recipe=other.model_dump(mode="json"))))


def test_a_run_that_was_measured_in_another_way_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="expected folds 0; got 5"):
        beside.read(job(write(tmp_path / "a.json", folds=5)))


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"sets": {"data": 1, "distinct": 1, "test": False}}, "expected sets .*'distinct': 0"),
        ({"ok_labels": ["def"]}, r"expected ok_labels \[\]; got \['def'\]"),
    ],
)
def test_a_run_that_took_its_pictures_otherwise_is_refused(tmp_path: Path, changed: dict[str, Any], said: str) -> None:
    with pytest.raises(DataError, match=said):
        beside.read(job(write(tmp_path / "a.json", **changed)))


def test_a_key_of_the_augmentation_is_named_by_itself(tmp_path: Path) -> None:
    other = Recipe(augment=Augment(lamp=0.1)).model_dump(mode="json")
    with pytest.raises(DataError, match=r"expected augment\.lamp 0\.4; got 0\.1"):
        beside.read(job(write(tmp_path / "a.json", recipe=other)))


def test_a_run_on_other_pictures_is_refused(tmp_path: Path) -> None:
    runs = beside.read(job(write(tmp_path / "a.json")))
    with pytest.raises(DataError, match="is of a run on other pictures"):
        beside.check_pictures(runs, "cd")


@pytest.mark.parametrize("text", ["no json", "[]", '{"n": 1}'])
def test_what_is_no_run_is_a_message(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(DataError, match=r"is no run to stand beside this one; expected the metrics\.json"):
        beside.read(job(tmp_path / "a.json"))
