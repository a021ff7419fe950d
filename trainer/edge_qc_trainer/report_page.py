"""The report: one HTML page that needs nothing beside it."""

import json
from collections.abc import Sequence
from pathlib import Path

import yaml

from edge_qc_trainer import report_plots as plots
from edge_qc_trainer.errors import DataError
from edge_qc_trainer.fit import Fitted
from edge_qc_trainer.job import Job, Made
from edge_qc_trainer.measure import Measured
from edge_qc_trainer.metrics import Figures
from edge_qc_trainer.report import figure_rows, render, report_rows
from edge_qc_trainer.report_pictures import STANDS_OUT, Thumbnail, thumbnail
from edge_qc_trainer.sets import audited

_FIGURES = (  # what ``figure_rows`` are called on the page
    ("escapes", "defective parts"),
    ("overkill", "good parts"),
    ("right in most pictures", "parts"),
    ("escapes", "defective pictures"),
    ("overkill", "good pictures"),
    ("right", "pictures"),
)
WORST = 24  # parts with a picture on the page; a row of the table for fifty
_FOR_VALIDATION = {"patience", "held_out_share", "validation_share"}  # keys of the recipe that do nothing under folds

Shown = tuple[Figures, Thumbnail]  # a part's row and its worst picture


def page(
    job: Job,
    made: Made,
    fitted: Fitted,
    measured: Measured,
    metrics: Figures,
    measured_on: str,
    notices: Sequence[str],
    audit: Figures | None,
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
        audit: what the audit of the pictures found; None where there was none.
    """
    notes = made.notes
    recipe = job.recipe.model_dump(mode="json", exclude=_FOR_VALIDATION if job.folds else None)
    return render(
        "report.html.j2",
        notes=notes,
        kilobytes=round(len(made.quantized.model) / 1000),
        input=made.quantized.input,
        defective=[label for label in notes.labels if label not in notes.ok_labels],
        measured_on=measured_on,
        notices=notices,
        metrics=metrics,
        rows=report_rows(metrics),
        intervals=list(zip(_FIGURES, figure_rows(metrics), strict=True)) if metrics["n"] else [],
        plots=_plots(made, fitted, measured, metrics),
        worst=_worst(measured, metrics, notes.ok_labels),
        most_shown=WORST,
        stands_out=STANDS_OUT,
        labels_of_folds=[f"#judged, {label}" for label in notes.labels],
        good=plots.GOOD,
        bad=plots.DEFECTIVE,
        fewest_shown=plots.FEWEST_SHOWN,
        history=fitted.history(),
        best=fitted.best,
        recipe=yaml.safe_dump(recipe, sort_keys=False, default_flow_style=None, width=48),
        job=job,
        audit=None
        if audit is None
        else {**audit, "of": audited(audit, metrics["made"]["fingerprint"], metrics["data"])},
    )


def read_audit(path: Path) -> Figures:
    """What ``edge-qc-train audit --json`` wrote.

    Raises:
        DataError: if it is not that.
    """
    try:
        found = json.loads(path.read_text("utf-8"))
        _ = found["n"], found["parts"], found["fingerprint"], found["threshold"], found["verdict"]
        _ = [(row["level"], row["check"], row["said"], row["remedy"]) for row in found["findings"]]
        _ = [row["fingerprint"] for row in found["sets"]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"{path} is no audit",
            expected="the file that edge-qc-train audit DATA --json FILE writes",
            got=f"no {error}" if isinstance(error, KeyError) else str(error),
            remedy="Make it anew, or leave out --audit",
        ) from None
    return dict(found)


def _plots(made: Made, fitted: Fitted, measured: Measured, metrics: Figures) -> dict[str, str]:
    folds = [fold["history"] for fold in metrics["folds"]]
    drawn = {"curves": plots.curves(fitted.history(), fitted.best, folds)}
    if metrics["n"]:
        drawn["confusion"] = plots.confusion(metrics)
        drawn["scores"] = plots.scores(measured.judgements, made.notes.ok_labels, metrics["thresholds"])
        drawn["reliability"] = plots.reliability(metrics["calibration"])
    return drawn


def _worst(measured: Measured, metrics: Figures, ok_labels: Sequence[str]) -> dict[str, list[Shown]]:
    """The worst picture of each wrong part, by what was wrong with it: copies of it would show the same again."""
    judged = {str(judgement.path): judgement for judgement in measured.judgements}
    found: dict[str, list[Shown]] = {"Escapes": [], "Overkill": [], "Unsure, or another class": []}
    for row in metrics["by_group"]["wrong"][:WORST]:
        shown = thumbnail(judged[row["example"]])
        if shown:
            good, verdict = row["label"] in ok_labels, shown.judgement.outcome.value
            kind = {(False, "ok"): "Escapes", (True, "reject"): "Overkill"}.get((good, verdict))
            found[kind or "Unsure, or another class"].append((row, shown))
    return {kind: several for kind, several in found.items() if several}
