"""The report: one HTML page that needs nothing beside it."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from edge_qc_trainer import report_plots as plots
from edge_qc_trainer.errors import DataError
from edge_qc_trainer.fit import Fitted
from edge_qc_trainer.job import Job, Made
from edge_qc_trainer.measure import Measured
from edge_qc_trainer.metrics import Figures, inspected_of, worst_first
from edge_qc_trainer.report import render
from edge_qc_trainer.report_pictures import thumbnails

WORST = 24  # pictures shown; a row of the table for a hundred


def page(
    job: Job, made: Made, fitted: Fitted, measured: Measured, metrics: Figures, measured_on: str, notices: Sequence[str]
) -> str:
    """The page of a run.

    Args:
        job: what ``fit`` was asked for.
        made: the int8 model and its notes.
        fitted: the network's history.
        measured: every verdict.
        metrics: the figures of them.
        measured_on: a sentence that says what they were measured on.
        notices: sentences that say what the figures cannot say.
    """
    notes = made.notes
    return render(
        "report.html.j2",
        model=f"{notes.name} {notes.version}",
        notes=notes,
        kilobytes=round(len(made.quantized.model) / 1000),
        input=made.quantized.input,
        defective=[label for label in notes.labels if label not in notes.ok_labels],
        measured_on=measured_on,
        notices=notices,
        metrics=metrics,
        rows=_report_rows(metrics),
        intervals=_interval_rows(metrics) if metrics["n"] else [],
        plots=_plots(made, fitted, measured, metrics),
        worst=thumbnails(worst_first(inspected_of(measured.judgements), notes.ok_labels), WORST),
        history=fitted.history(),
        best=fitted.best,
        recipe=yaml.safe_dump(job.recipe.model_dump(mode="json"), sort_keys=False, default_flow_style=None, width=100),
        job=job,
        audit=None if job.audit is None else read_audit(job.audit),
    )


def read_audit(path: Path) -> Figures:
    """What ``edge-qc-train audit --json`` wrote.

    Raises:
        DataError: if it is not that.
    """
    try:
        found = json.loads(path.read_text("utf-8"))
        _ = found["n"], found["parts"], found["fingerprint"]
        _ = [(row["level"], row["check"], row["said"], row["remedy"]) for row in found["findings"]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"{path} is no audit",
            expected="the file that edge-qc-train audit DATA --json FILE writes",
            got=str(error),
            remedy="Make it anew, or leave out --audit",
        ) from None
    return dict(found)


def _plots(made: Made, fitted: Fitted, measured: Measured, metrics: Figures) -> dict[str, str]:
    drawn = {"curves": plots.curves(fitted.history(), fitted.best)}
    if metrics["n"]:
        drawn["confusion"] = plots.confusion(metrics)
        drawn["scores"] = plots.scores(measured.judgements, made.notes.ok_labels, metrics["thresholds"])
        drawn["reliability"] = plots.reliability(metrics["calibration"])
    return drawn


def _report_rows(metrics: Figures) -> list[tuple[str, Figures]]:
    if not metrics["n"]:
        return []
    averages = [("macro avg", metrics["macro_avg"]), ("weighted avg", metrics["weighted_avg"])]
    return [*metrics["per_class"].items(), *averages]


def _interval_rows(metrics: Figures) -> list[dict[str, Any]]:
    """Accuracy, escape and overkill, by picture and by part, each with both intervals."""
    parts = metrics["by_group"]
    drawn = parts["bootstrap"]
    right = round(metrics["accuracy"] * metrics["n"])
    pictures = {"count": right, "of": metrics["n"], "rate": metrics["accuracy"], "ci95": metrics["accuracy_ci95"]}
    return [
        {"name": "right", "unit": "pictures", **pictures, "drawn": drawn["by_picture"]["accuracy"]},
        {"name": "escapes", "unit": "defective pictures", **metrics["escape"], "drawn": drawn["by_picture"]["escape"]},
        {"name": "overkill", "unit": "good pictures", **metrics["overkill"], "drawn": drawn["by_picture"]["overkill"]},
        {"name": "right in most pictures", "unit": "parts", **parts["right"], "drawn": None},
        {"name": "escapes", "unit": "defective parts", **parts["escape"], "drawn": drawn["escape"]},
        {"name": "overkill", "unit": "good parts", **parts["overkill"], "drawn": drawn["overkill"]},
    ]
