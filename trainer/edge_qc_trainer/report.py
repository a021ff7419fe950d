"""What a person reads of a run: templates filled in, figures as text, and tables for a terminal."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from edge_qc_trainer.metrics import Figures

_OF_CLASS = ("precision", "recall", "f1")
_TEMPLATES = Path(__file__).parent / "templates"


def render(template: str, **values: Any) -> str:
    """A template of this package, filled in; HTML is escaped in ``*.html``."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape

    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=select_autoescape(("html.j2",)),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["count"] = count
    environment.filters["interval"] = interval
    environment.filters["ends"] = ends
    environment.filters["percent"] = percent
    environment.filters["per_million"] = per_million
    environment.filters["bare"] = "{:g}".format
    return str(environment.get_template(template).render(**values)) + "\n"


def count(value: float) -> str:
    """``47``; with two decimals where parts are counted by the share of their pictures."""
    return f"{value:,.0f}" if value == round(value) else f"{value:,.2f}"


def interval(figure: Figures) -> str:
    """``2 of 453 = 0.44 % (0.05 to 1.58 %)``; a part of which a third counts is a third of one."""
    if not figure["of"]:
        return "none measured"
    return f"{count(figure['count'])} of {count(figure['of'])} = {percent(figure['rate'])} ({ends(figure['ci95'])})"


def ends(ci95: Sequence[float] | None) -> str:
    """``0.05 to 1.58 %``; a dash where there is no interval."""
    return "–" if ci95 is None else f"{100 * ci95[0]:.2f} to {percent(ci95[1])}"


def per_million(ends_of: Sequence[float] | None) -> str:
    """``3 to 1,170``; a dash where there is no interval."""
    return "–" if ends_of is None else f"{ends_of[0]:,.0f} to {ends_of[1]:,.0f}"


def percent(share: float | None) -> str:
    """``0.44 %``; a dash where there is none."""
    return "–" if share is None else f"{100 * share:.2f} %"


def print_tables(metrics: Figures, title: str) -> None:
    """The figures, the confusion matrix, the classification report and the conditions on standard output."""
    from rich.console import Console

    console = Console(highlight=False)
    if metrics.get("made", {}).get("known"):
        console.print(metrics["made"]["known"], style="bold", markup=False)
    console.print(f"{title}: {count(metrics['n'])} pictures", style="bold", markup=False)
    if metrics["n"]:
        console.print(_figures_table(metrics))
        for line in _lines(metrics):
            console.print(line, markup=False)
        console.print(_confusion_table(metrics), _report_table(metrics))
    refused = Counter(row["reason"] for row in metrics["not_inspected"])
    if refused:
        told = ", ".join(f"{count} {reason}" for reason, count in refused.most_common())
        console.print(f"not inspected: {told}", markup=False)
    if "robustness" in metrics:
        console.print(_robustness_table(metrics["robustness"]))
    for file in metrics["unreadable"]:
        console.print(f"not counted: {file['path']}: {file['reason']}", markup=False)


def _table(title: str | None, first: str, others: Sequence[str]) -> Any:
    """A table that 80 columns hold."""
    from rich import box
    from rich.markup import escape
    from rich.table import Table

    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), show_edge=False)
    table.add_column(first, no_wrap=True)
    for name in others:
        table.add_column(escape(name), justify="right", no_wrap=True)
    return table


def figure_rows(metrics: Figures) -> list[Figures]:
    """Escapes, overkill and what is right in most pictures, by part; escapes, overkill and what is right, by picture.

    Each with its interval and, ``drawn``, the bootstrap's. The parts first: the intervals of pictures are too narrow
    where they are copies of parts.
    """
    parts = metrics["by_group"]
    drawn, by_picture = parts["bootstrap"], parts["bootstrap"]["by_picture"]
    right = round(metrics["accuracy"] * metrics["n"])
    pictures = {"count": right, "of": metrics["n"], "rate": metrics["accuracy"], "ci95": metrics["accuracy_ci95"]}
    return [
        {**parts["escape"], "drawn": drawn["escape"]},
        {**parts["overkill"], "drawn": drawn["overkill"]},
        {**parts["right_in_most"], "drawn": parts["right_in_most"]["bootstrap"]},
        {**metrics["escape"], "drawn": by_picture["escape"]},
        {**metrics["overkill"], "drawn": by_picture["overkill"]},
        {**pictures, "drawn": by_picture["accuracy"]},
    ]


def _figures_table(metrics: Figures) -> Any:
    table = _table(None, "", ("count", "of", "rate", "95 %", "bootstrap"))
    names = (
        *("escapes, parts", "overkill, parts", "right in most, parts"),
        *("escapes, pictures", "overkill, pictures", "right, pictures"),
    )
    for name, row in zip(names, figure_rows(metrics), strict=True):
        rate, exact = (percent(row["rate"]), ends(row["ci95"])) if row["of"] else ("–", "–")
        table.add_row(name, count(row["count"]), count(row["of"]), rate, exact, ends(row["drawn"]))
    return table


def _lines(metrics: Figures) -> list[str]:
    parts, ppm = metrics["by_group"], metrics["by_group"]["escape_ppm"]
    lines = [
        f"{what}: {whole['any']} of {whole['of']} {kind} parts in a picture at least, {whole['most']} in most, "
        f"{whole['all']} in all"
        for what, kind, whole in (
            ("escaped", "defective", parts["escaped_parts"]),
            ("rejected", "good", parts["overkill_parts"]),
        )
        if whole["of"]
    ]
    if ppm["ppm"] is not None:
        come_in = f"where {100 * ppm['defect_rate']:g} % come in defective"
        lines.append(f"{ppm['ppm']:,.0f} ({per_million(ppm['ci95'])}) escapes in a million shipped, {come_in}")
    auc = "–" if metrics["auc"] is None else f"{metrics['auc']:.4f}"
    lines.append(f"AUC {auc}, calibration error {percent(metrics['calibration']['ece'])}")
    if "thresholds" in metrics:
        low, high = metrics["thresholds"]["ok_below"], metrics["thresholds"]["reject_from"]
        lines.append(f"ok under a score of {low:.4g}, reject from {high:.4g}")
    lines.append("verdicts: " + ", ".join(f"{n} {name.replace('_', ' ')}" for name, n in metrics["verdicts"].items()))
    return lines


def _confusion_table(metrics: Figures) -> Any:
    from rich.markup import escape

    table = _table("Confusion matrix, pictures", "actual \\ predicted", metrics["labels"])
    for label, counts in zip(metrics["labels"], metrics["confusion_matrix"], strict=True):
        table.add_row(escape(label), *map(str, counts))
    return table


def report_rows(metrics: Figures) -> list[tuple[str, Figures]]:
    """Rows of the classification report: a class without a picture has no figures, and no mean has it in it."""
    rows = [
        (name, row if row["support"] else {**row, **dict.fromkeys(_OF_CLASS)})
        for name, row in metrics["per_class"].items()
    ]
    if not metrics["n"] or not all(row["support"] for _, row in rows):
        return rows
    return [*rows, ("macro avg", metrics["macro_avg"]), ("weighted avg", metrics["weighted_avg"])]


def _report_table(metrics: Figures) -> Any:
    from rich.markup import escape

    table = _table("Classification report, pictures", "class", (*_OF_CLASS, "support"))
    for name, row in report_rows(metrics):
        figures = ["–" if row[key] is None else f"{row[key]:.4f}" for key in _OF_CLASS]
        table.add_row(escape(name), *figures, str(row["support"]))
    return table


def _robustness_table(found: Figures) -> Any:
    title = f"Other light and optics: {found['pictures']} pictures, {found['parts']} parts"
    table = _table(title, "condition", ("right", "change", "escapes", "overkill", "not insp.", "AUC"))
    for row in (*found["conditions"], found["control"]):
        rates = [percent(row[key]["rate"]) if row[key]["of"] else "–" for key in ("escape", "overkill")]
        auc = "–" if row["auc"] is None else f"{row['auc']:.4f}"
        change = "–" if row["change"] is None else f"{row['change']:+.2f}"
        table.add_row(row["condition"], percent(row["right_of_all"]), change, *rates, str(row["not_inspected"]), auc)
    return table
