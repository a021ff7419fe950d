"""THE PIPELINE of ``fit``: read, group near copies, split, fit, quantize, judge as the device does, report."""

import errno
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

from edge_qc.bundle import write_bundle
from edge_qc_trainer import crossval, limits, report_page
from edge_qc_trainer.calibrate import Calibration
from edge_qc_trainer.card import check_name, readable_card
from edge_qc_trainer.checkpoint import Checkpoints, folder_of
from edge_qc_trainer.crossval import CrossValidated
from edge_qc_trainer.errors import BackendError, DataError, SpaceError
from edge_qc_trainer.fit import Fitted, import_keras
from edge_qc_trainer.job import Job, Made, Material, Progress, fit_network, gather, make_bundle
from edge_qc_trainer.measure import Measured, choose_on_validation, figures_of, measure, without_lists
from edge_qc_trainer.metrics import Figures
from edge_qc_trainer.threshold import Chosen


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
    if job.audit:
        report_page.read_audit(job.audit)
    checkpoints = Checkpoints(folder_of(out), progress.say)
    with whole_or_absent(out) as draft:
        if restart:
            checkpoints.remove()
        material = gather(job, progress)
        notices = limits.notices(job, material)
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
        measured_on = _measured_on(job, metrics)
        bundle = made.bundle(without_lists(metrics))
        readable = readable_card(bundle, made.notes, metrics, measured_on)
        write_bundle(draft / "bundle", bundle.card, bundle.model, readable)
        (draft / "metrics.json").write_text(json.dumps(metrics, indent=2) + "\n", "utf-8")
        page = report_page.page(job, made, fitted, found, metrics, measured_on, notices)
        (draft / "report.html").write_text(page, "utf-8")
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


def _measured_on(job: Job, metrics: Figures) -> str:
    """The sentence that says what the figures were measured on."""
    if job.folds:
        return (
            f"By cross-validation: the parts were dealt into {job.folds} folds, and each was judged by an int8 model "
            "of this recipe that was trained and calibrated without it, with the device's own code. So every part was "
            "judged once, by a model that had not seen it"
            + (", under thresholds that the other folds chose" if job.policy else "")
            + ". The model in this bundle was then trained on all parts."
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
        SpaceError: if the disk is full.
    """
    if out.exists() and not (out / "metrics.json").is_file() and (not out.is_dir() or any(out.iterdir())):
        raise DataError(
            f"{out} is in use",
            expected="a new folder, an empty one, or an earlier run",
            got="something else",
            remedy="Give --out another folder",
        )
    draft = out.absolute().with_name(f".{out.name}.{os.getpid()}")
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(parents=True)
    try:
        yield draft
        if out.exists():
            shutil.rmtree(out)
        draft.rename(out)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise SpaceError(
            "no space left",
            expected=f"room for the run beside {out}, and for temporary files in {tempfile.gettempdir()}",
            got=f"{error.strerror} at {error.filename or draft}",
            remedy="Make room, or give --out a folder on another disk, and set TMPDIR to one",
        ) from error
    finally:
        shutil.rmtree(draft, ignore_errors=True)
