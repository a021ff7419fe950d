"""THE PIPELINE of ``fit``: read, group near copies, split, fit, quantize, judge as the device does, report."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

from edge_qc.bundle import is_free, whole_folder, write_bundle
from edge_qc_trainer import beside, crossval, limits, report_page
from edge_qc_trainer.calibrate import Calibration
from edge_qc_trainer.card import check_name, made_of, readable_card
from edge_qc_trainer.checkpoint import Checkpoints, folder_of
from edge_qc_trainer.crossval import CrossValidated
from edge_qc_trainer.errors import BackendError, DataError
from edge_qc_trainer.fit import Fitted, import_keras
from edge_qc_trainer.job import Job, Made, Material, Progress, fit_network, gather, make_bundle, seconds_of
from edge_qc_trainer.measure import Measured, choose_on_validation, figures_of, measure, without_lists
from edge_qc_trainer.metrics import Figures
from edge_qc_trainer.output import write_whole
from edge_qc_trainer.threshold import Chosen

_WRITTEN = {"bundle", "model.keras", "model.keras.json", "metrics.json", "report.html"}


def run(job: Job, out: Path, progress: Progress, *, restart: bool = False) -> Figures:
    """Trains a model and writes ``bundle/``, ``model.keras``, ``metrics.json`` and ``report.html`` into ``out``.

    A run that is stopped leaves a checkpoint beside ``out``, from which the same run goes on; the end of it removes it.

    Args:
        job: what ``fit`` was asked for.
        out: the folder.
        progress: where to tell how far it is.
        restart: whether a checkpoint is left aside.

    Returns:
        The figures of the int8 model on the held-out pictures, as ``metrics.json`` has them.

    Raises:
        EdgeQcError: if the data, the options or a library are at fault; then ``out`` is left as it was.
    """
    check_backends()
    check_name(job.name, job.version)
    audit = report_page.read_audit(job.audit) if job.audit else None
    others = beside.read(job)
    checkpoints = Checkpoints(folder_of(out), progress.say)
    with whole_or_absent(out) as draft:
        if restart:
            checkpoints.remove()
        material = gather(job, progress)
        beside.check_pictures(others, material.dataset.fingerprint)
        notices = limits.notices(job, material, audit)
        for notice in notices:
            progress.say(notice)
        crossed = crossval.cross_validate(job, material, draft, progress, checkpoints) if job.folds else None
        fitted = fit_network(job, material, progress, checkpoints)
        calibration = crossed.calibration if crossed else crossval.calibrate_on_validation(job, material, fitted)
        progress.say("quantizing")
        made = make_bundle(job, material, fitted, calibration, draft / "model.keras")
        made, chosen = _with_thresholds(job, material, made, crossed, progress)
        found = crossed.measured if crossed else _measure(job, material, made, fitted, progress)
        metrics = figures_of(job, material, found)
        metrics["thresholds"] = chosen.figures if chosen else made.notes.thresholds.model_dump()
        metrics |= _of_the_run(job, material, made, fitted, crossed)
        metrics["beside"] = [beside.row(metrics, this=True), *(beside.row(run, this=False) for run in others.values())]
        measured_on = _measured_on(job, metrics)
        bundle = made.bundle(without_lists(metrics))
        readable = readable_card(bundle, made.notes, metrics, measured_on, notices)
        write_bundle(draft / "bundle", bundle.card, bundle.model, readable)
        write_whole(draft / "metrics.json", json.dumps(metrics, indent=2) + "\n")
        page = report_page.page(job, made, fitted, found, metrics, measured_on, notices, audit)
        write_whole(draft / "report.html", page)
    checkpoints.remove()
    return metrics


def _with_thresholds(
    job: Job, material: Material, made: Made, crossed: CrossValidated | None, progress: Progress
) -> tuple[Made, Chosen | None]:
    """The model with the thresholds that the job asks for; they stay at 0.5 where it asks for none."""
    chosen = crossed.chosen if crossed else None
    if job.policy and not crossed:
        chosen = choose_on_validation(job, material, made.bundle({}), progress)
    if chosen is None:
        return made, None
    progress.say(chosen.figures["rule"])
    return made.with_thresholds(chosen.thresholds), chosen


def _measure(job: Job, material: Material, made: Made, fitted: Fitted, progress: Progress) -> Measured:
    """What the int8 model and the network before it say of the held-out pictures."""
    logits = material.logits(fitted, material.split.held_out)
    # The network that was saved has its shift in it already.
    return measure(job, material, made.bundle({}), logits, Calibration(made.notes.temperature), progress)


def _of_the_run(
    job: Job, material: Material, made: Made, fitted: Fitted, crossed: CrossValidated | None
) -> dict[str, Figures | list[Figures]]:
    """What ties the figures to the model, the pictures and what was asked; the folds, and what the fits took (s)."""
    folds = crossed.folds if crossed else []
    seconds = [*(fold["seconds"] for fold in folds), seconds_of(fitted)]
    return {
        "made": {**made_of(made.bundle({})), "fingerprint": material.dataset.fingerprint, **beside.asked(job)},
        "seconds": {"final": seconds[-1], "fits": sum(seconds), "count": len(seconds)},
        "folds": folds,
    }


def _measured_on(job: Job, metrics: Figures) -> str:
    """The sentences that say what the figures were measured on."""
    if job.folds:
        dealt, never = ([row for row in metrics["data"] if bool(row["judged"]) == judged] for judged in (True, False))
        names, others = (", ".join(dict.fromkeys(row["set"] for row in rows)) for rows in (dealt, never))
        pictures = sum(row["pictures"] for row in never)
        trained = f"The {pictures:,} pictures of {others} were trained on in every fold and never judged. "
        return (
            f"By cross-validation: the parts of {names} were dealt into {job.folds} folds, and each fold was judged by "
            "an int8 model of this recipe that was trained and calibrated without it, with the device's own code. So "
            "each of these parts was judged once, by a model that had not seen it"
            + (", under thresholds that the other folds chose. " if job.policy else ". ")
            + (trained if never else "")
            + "The model in this bundle was then trained on all of them: it was not measured itself, and is calibrated "
            "on what the models of the folds said."
        )
    known = metrics["held_out_near_copies_in_training"]
    if known:
        return (
            f"By the int8 model and the device's own code, on the test pictures that were given. {known} of them show "
            "parts that were trained on too, so these figures are too good."
        )
    return "By the int8 model and the device's own code, on parts that neither training nor the choice of epoch saw."


def check_backends() -> None:
    """Raises ``BackendError`` before the work begins if keras, its backend or TensorFlow is missing."""
    import_keras()
    if find_spec("tensorflow") is None:
        raise BackendError(
            "tensorflow is not installed",
            expected="it, for the conversion to int8, whatever KERAS_BACKEND trains on",
            got="none",
            remedy="pip install 'edge-qc[train]'",
        )


@contextmanager
def whole_or_absent(out: Path) -> Iterator[Path]:
    """A draft folder that takes the name ``out`` once all is written; a run that stood there is replaced.

    Raises:
        DataError: if ``out`` holds something that is not an earlier run.
        OSError: if it cannot be written; then a run that stood there still does.
    """
    if not is_free(out, {"bundle", "metrics.json"}, _WRITTEN):
        raise DataError(
            f"{out} is in use",
            expected="a new folder, an empty one, or an earlier run and nothing else",
            got="something else",
            remedy="Give --out another folder",
        )
    with whole_folder(out) as draft:
        yield draft
