"""THE PIPELINE of ``fit``: read, group near copies, split, fit, quantize, judge as the device does, report."""

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

import yaml

from edge_qc.bundle import write_bundle
from edge_qc_trainer import crossval, report
from edge_qc_trainer.card import Notes, check_name, readable_card
from edge_qc_trainer.errors import BackendError, DataError
from edge_qc_trainer.fit import Fitted, import_keras
from edge_qc_trainer.job import Job, Progress, fit_network, gather, make_bundle, measure, without_lists
from edge_qc_trainer.metrics import Figures


def run(job: Job, out: Path, progress: Progress) -> Figures:
    """Trains a model and writes ``bundle/``, ``model.keras``, ``metrics.json`` and ``report.html`` into ``out``.

    Returns:
        The figures of the int8 model on the held-out pictures, as ``metrics.json`` has them.

    Raises:
        EdgeQcError: if the data, the options or a library are at fault; then ``out`` is left as it was.
    """
    check_backends()
    check_name(job.name, job.version)
    with whole_or_absent(out) as draft:
        material = gather(job, progress)
        crossed = crossval.cross_validate(job, material, draft, progress) if job.folds else None
        fitted = fit_network(job, material, progress)
        calibration = crossed.calibration if crossed else crossval.calibrate_on_validation(job, material, fitted)
        progress.say("quantizing")
        made = make_bundle(job, material, fitted, calibration, draft / "model.keras")
        metrics = crossed.figures(job, material) if crossed else measure(job, material, made.bundle({}), progress)
        measured = _measured_on(job, metrics)
        bundle = made.bundle(without_lists(metrics))
        write_bundle(draft / "bundle", bundle.card, bundle.model, readable_card(bundle, made.notes, metrics, measured))
        (draft / "metrics.json").write_text(json.dumps(metrics, indent=2) + "\n", "utf-8")
        (draft / "report.html").write_text(_page(job, made.notes, fitted, metrics, measured), "utf-8")
    return metrics


def _measured_on(job: Job, metrics: Figures) -> str:
    """The sentence that says what the figures were measured on."""
    if job.folds:
        return (
            f"By cross-validation: the parts were dealt into {job.folds} folds, and each was judged by an int8 model "
            "of this recipe that was trained and calibrated without it, with the device's own code. So every part was "
            "judged once, by a model that had not seen it. The model in this bundle was then trained on all parts."
        )
    known = metrics["held_out_near_copies_in_training"]
    if known:
        return (
            f"By the int8 model and the device's own code, on the test pictures that were given. {known} of them show "
            "parts that were trained on too, so these figures are too good."
        )
    return "By the int8 model and the device's own code, on parts that neither training nor the choice of epoch saw."


def _page(job: Job, notes: Notes, fitted: Fitted, metrics: Figures, measured: str) -> str:
    rows = [
        *metrics["per_class"].items(),
        ("macro avg", metrics["macro_avg"]),
        ("weighted avg", metrics["weighted_avg"]),
    ]
    return report.render(
        "report.html.j2",
        model=f"{notes.name}-{notes.version}",
        measured=measured,
        metrics=metrics,
        rows=rows if metrics["n"] else [],
        confusion=report.confusion_svg(metrics) if metrics["n"] else "",
        curves=report.curves_svg(fitted.history(), fitted.best),
        history=fitted.history(),
        best=fitted.best,
        temperature=notes.temperature,
        data=notes.data,
        made_with=notes.made_with,
        command=notes.command,
        recipe=yaml.safe_dump(job.recipe.model_dump(mode="json"), sort_keys=False),
    )


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
    finally:
        shutil.rmtree(draft, ignore_errors=True)
