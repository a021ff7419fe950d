"""Figures of runs that never ran, as ``metrics.json`` has them."""

from pathlib import Path
from typing import Any

import numpy as np

from edge_qc.domain import Outcome
from edge_qc_trainer.beside import asked
from edge_qc_trainer.config import Recipe, load_recipe
from edge_qc_trainer.dataset import file_hash, fingerprint_of
from edge_qc_trainer.evaluate import Judgement
from edge_qc_trainer.job import Job
from edge_qc_trainer.metrics import by_group, figures


def measured(defective: int = 4, good: int = 4) -> dict[str, Any]:
    """Of so many parts, a picture each, of which the last of either kind is judged wrongly."""
    truths = [("def", place == defective - 1) for place in range(defective)]
    truths += [("ok", place == good - 1) for place in range(good)]
    judgements = [_judged(label, wrong=wrong) for label, wrong in truths]
    found = figures(judgements, ("def", "ok"), ("ok",))
    found["by_group"] = by_group(judgements, np.arange(len(judgements)), ("ok",))
    return found


def _judged(label: str, *, wrong: bool) -> Judgement:
    rejected = (label == "def") != wrong
    outcome, predicted, score = (Outcome.REJECT, "def", 0.9) if rejected else (Outcome.OK, "ok", 0.1)
    return Judgement(Path(f"{label}.png"), label, outcome, predicted, score, "")


def made(
    seed: int = 0,
    fingerprint: str = "ab",
    recipe: Recipe | None = None,
    folds: int = 0,
    distinct: tuple[Path, ...] = (),
) -> dict[str, Any]:
    """What says of a run what it was asked for."""
    job = Job(data=(Path("a"),), distinct=distinct, recipe=recipe or Recipe(), seed=seed, folds=folds)
    return {"fingerprint": fingerprint, **asked(job)}


def run_beside(data: Path, *distinct: Path, recipe_file: Path, folds: int, seed: int) -> dict[str, Any]:
    """A run on the pictures in some folders, ``broken.png`` passed over."""
    pictures = [path for folder in (data, *distinct) for path in folder.rglob("*.png") if path.name != "broken.png"]
    fingerprint = fingerprint_of(map(file_hash, pictures))
    return {**measured(), "made": made(seed, fingerprint, load_recipe(recipe_file), folds, distinct)}
