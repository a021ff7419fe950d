"""Runs of one recipe on the same pictures that differ by their seed alone, side by side.

Another seed deals other folds, draws other variations and ends elsewhere; no interval of a single run covers that.
"""

import json
from dataclasses import asdict
from pathlib import Path

from edge_qc_trainer.errors import DataError
from edge_qc_trainer.job import Job
from edge_qc_trainer.metrics import Figures

_REMEDY = "Fit it anew with the same options and another --seed, or leave it out of --beside"


def asked(job: Job) -> Figures:
    """What runs must have in common beside their pictures, and the ``seed``, which must differ."""
    return {
        "seed": job.seed,
        "folds": job.folds,
        "groups": job.group,
        "sets": {"data": len(job.data), "distinct": len(job.distinct), "test": job.test is not None},
        "ok_labels": sorted(job.ok_labels),
        "recipe": job.recipe.model_dump(mode="json"),
        "policy": asdict(job.policy),
    }


def read(job: Job) -> dict[Path, Figures]:
    """The figures of the runs that ``job.beside`` names.

    Raises:
        DataError: if a file is no ``metrics.json``, or of a run that was asked for something else or had a seed that is
            there already.
    """
    runs: dict[Path, Figures] = {}
    seeds = {job.seed}
    for path in job.beside:
        runs[path] = _read(path)
        made = runs[path]["made"]
        _check_same(path, asked(job), made)
        if made["seed"] in seeds:
            raise DataError(
                f"{path} stands beside a run of the same seed",
                expected="another seed for each run",
                got=f"seed {made['seed']} again",
                remedy=_REMEDY,
            )
        seeds.add(made["seed"])
    return runs


def check_pictures(runs: dict[Path, Figures], fingerprint: str) -> None:
    """Raises ``DataError`` if a run was made of other pictures."""
    for path, run in runs.items():
        if run["made"]["fingerprint"] != fingerprint:
            raise DataError(
                f"{path} is of a run on other pictures",
                expected=f"fingerprint {fingerprint[:12]}…",
                got=f"{run['made']['fingerprint'][:12]}…",
                remedy=_REMEDY,
            )


def row(metrics: Figures, *, this: bool) -> Figures:
    """A run in the table: ``n`` pictures, ``accuracy`` and ``auc`` by picture, the rest by part.

    ``this`` says whether it is the run that the report is of.
    """
    parts = metrics["by_group"]
    return {
        "seed": metrics["made"]["seed"],
        "n": metrics["n"],
        "accuracy": metrics["accuracy"],
        "parts_right": parts["right"]["count"],
        "parts": parts["right"]["of"],
        "escape": parts["escape"],
        "overkill": parts["overkill"],
        "auc": metrics["auc"],
        "this": this,
    }


def _read(path: Path) -> Figures:
    try:
        found: Figures = json.loads(path.read_text("utf-8"))
        row(found, this=False)
        _ = found["made"]["fingerprint"], dict(found["made"]["recipe"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"{path} is no run to stand beside this one",
            expected="the metrics.json that edge-qc-train fit writes",
            got=f"no {error}" if isinstance(error, KeyError) else str(error),
            remedy=_REMEDY,
        ) from None
    return found


def _check_same(path: Path, this: Figures, made: Figures) -> None:
    """Raises ``DataError`` where more than the seed differs; a key of the recipe is named by itself."""
    ours, theirs = (_flat(run) for run in (this, made))
    for key in sorted({*ours, *theirs} - {"seed", *(made.keys() - this.keys())}):
        if ours.get(key) != theirs.get(key):
            raise DataError(
                f"{path} is of a run that differs in more than its seed",
                expected=f"{key} {ours.get(key)}",
                got=f"{theirs.get(key)}",
                remedy=_REMEDY,
            )


def _flat(run: Figures) -> Figures:
    """What was asked for, with the keys of the recipe and of its augmentation beside the others."""
    recipe = dict(run["recipe"])
    augment = {f"augment.{key}": value for key, value in recipe.pop("augment", {}).items()}
    return {**{key: value for key, value in run.items() if key != "recipe"}, **recipe, **augment}
