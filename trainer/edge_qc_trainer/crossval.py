"""Cross-validation by part: every part is judged once, by a model that never saw it."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edge_qc.domain import FloatArray
from edge_qc_trainer.batches import sampling_weights
from edge_qc_trainer.calibrate import Calibration, calibrate, defect_log_odds
from edge_qc_trainer.card import notes_file
from edge_qc_trainer.checkpoint import Checkpoints
from edge_qc_trainer.config import Recipe
from edge_qc_trainer.dataset import IntArray, choose_ok_labels
from edge_qc_trainer.errors import DataError
from edge_qc_trainer.fit import Fitted
from edge_qc_trainer.job import Job, Material, Progress, fit_network, make_bundle, seconds_of
from edge_qc_trainer.measure import Measured, choose_out_of_fold, measure, pooled
from edge_qc_trainer.metrics import Figures, by_group, figures
from edge_qc_trainer.sets import by_class, counted
from edge_qc_trainer.split import Split
from edge_qc_trainer.threshold import Chosen


@dataclass(frozen=True, slots=True, eq=False)
class Fold:
    """One fold: its split, the model fitted without it, and that model's logits (held out, classes) of it."""

    split: Split
    fitted: Fitted
    logits: FloatArray


@dataclass(frozen=True, slots=True, eq=False)
class CrossValidated:
    """What cross-validation found.

    Attributes:
        measured: the verdict on each picture, by the device's own code and the int8 model of its fold.
        calibration: of all folds together, for the model that is trained on all parts.
        chosen: the thresholds, of all folds together, where the job asks for any; a fold itself was judged by those
            that the others chose.
        folds: of each fold, what it was trained and judged on, its figures, and the history of its fit.
    """

    measured: Measured
    calibration: Calibration
    chosen: Chosen | None
    folds: list[Figures]


def deal_into_folds(material: Material, job: Job) -> list[Split]:
    """Splits by part, with the classes in proportion; pictures of ``job.distinct`` are trained on in every fold.

    Raises:
        DataError: if a class has fewer parts than folds.
    """
    from sklearn.model_selection import StratifiedGroupKFold

    data, nothing = material.dataset, np.array([], np.int64)
    counted = np.flatnonzero(~job.is_distinct(data.sources))
    targets, groups = data.targets[counted], material.groups[counted]
    fewest = min(len(np.unique(groups[targets == target])) for target in np.unique(targets))
    if fewest < job.folds:
        raise DataError(
            "too few different parts for so many folds",
            expected=f"at least {job.folds} parts of each class, near copies counted once",
            got=f"{fewest} of the class that has fewest",
            remedy=f"Photograph more parts, or give --folds {fewest}",
        )
    splitter = StratifiedGroupKFold(job.folds, shuffle=True, random_state=job.seed)
    held_out = [counted[fold] for _, fold in splitter.split(targets, targets, groups)]
    return [Split(np.setdiff1d(np.arange(len(data.files)), fold), nothing, fold) for fold in held_out]


def cross_validate(
    job: Job, material: Material, folder: Path, progress: Progress, checkpoints: Checkpoints
) -> CrossValidated:
    """Fits a model for each fold and judges the fold with it.

    A fold's model runs to its last epoch: choosing one by the fold's own pictures would flatter the figures. Its
    calibration comes from the other folds for the same reason.

    Args:
        job: what ``fit`` was asked for.
        material: the pictures.
        folder: where the folds' models may be put.
        progress: where to tell how far it is.
        checkpoints: where the fits are kept, so that a stopped run does not fit a fold again.
    """
    from sklearn.metrics import roc_auc_score

    folds, good = [], material.dataset.good(job.ok_labels)
    for number, split in enumerate(deal_into_folds(material, job), 1):
        progress.say(f"fold {number} of {job.folds}: {len(split.train)} to train on, {len(split.held_out)} held out")
        fitted = fit_network(job, material.with_split(split), progress, checkpoints, f"fold {number}")
        folds.append(Fold(split, fitted, material.logits(fitted, split.held_out)))
        defective = ~good[material.dataset.targets[split.held_out]]
        area = roc_auc_score(defective, defect_log_odds(folds[-1].logits, good, 1.0))
        progress.say(f"fold {number}: area under the curve {area:.4f}")
    measured: list[Measured] = []
    for number, fold in enumerate(folds, 1):
        calibration = _calibrated(job, material, [other for other in folds if other is not fold])
        keras_file = folder / f"fold-{number}.keras"
        of_fold = material.with_split(fold.split)
        made = make_bundle(job, of_fold, fold.fitted, calibration, keras_file)
        measured.append(measure(job, of_fold, made.bundle({}), fold.logits, calibration, progress))
        keras_file.unlink()
        notes_file(keras_file).unlink()
    chosen = None
    if job.policy:
        measured, chosen = choose_out_of_fold(job, material, measured)
    found = [_figures(job, material, *one) for one in zip(range(1, job.folds + 1), folds, measured, strict=True)]
    return CrossValidated(pooled(measured), _calibrated(job, material, folds), chosen, found)


def _figures(job: Job, material: Material, number: int, fold: Fold, measured: Measured) -> Figures:
    """By picture, and ``by_part``; the area under the curve is of one model here, and not pooled over several."""
    data, judged = material.dataset, measured.places
    ok_labels = choose_ok_labels(data.labels, job.ok_labels)
    by_picture = figures(measured.judgements, data.labels, ok_labels)
    parts = by_group(measured.judgements, material.groups[judged], ok_labels, resamples=0)
    return {
        "fold": number,
        "trained": counted(material, fold.split.train),
        "judged": {label: counted(material, places) for label, places in by_class(material, judged).items()},
        **{key: by_picture[key] for key in ("n", "accuracy", "escape", "overkill", "auc")},
        "by_part": {key: parts.get(key) for key in ("right", "escape", "overkill")},
        "history": fold.fitted.history(),
        "seconds": seconds_of(fold.fitted),
    }


def calibrate_on_validation(job: Job, material: Material, fitted: Fitted) -> Calibration:
    """The calibration of a model on the validation pictures, which have chosen its epoch."""
    places = material.split.validation
    return _calibrate(job, material, places, material.logits(fitted, places))


def _calibrated(job: Job, material: Material, folds: Sequence[Fold]) -> Calibration:
    places = np.concatenate([fold.split.held_out for fold in folds])
    return _calibrate(job, material, places, np.concatenate([fold.logits for fold in folds]))


def _calibrate(job: Job, material: Material, places: IntArray, logits: FloatArray) -> Calibration:
    """Parts weigh as they do in training, and the good as much as the defective.

    Were every part to weigh alike, a few that look like no other would decide: on the castings, six of the fourteen
    good ones have few pictures and another look, and a shift that lets them pass lets defects pass too.
    """
    data = material.dataset
    good = data.good(job.ok_labels)
    defective = ~good[data.targets[places]]
    as_trained = Recipe(copies_power=job.recipe.copies_power)
    weights = sampling_weights(defective.astype(np.int64), material.groups[places], np.zeros_like(places), as_trained)
    return calibrate(logits, defective, good, weights)
