"""What a person reads of a run: templates filled in, figures as text, and tables for a terminal."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from edge_qc_trainer.metrics import Figures

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
    environment.filters["decimals"] = "{:.3f}".format
    return str(environment.get_template(template).render(**values)) + "\n"


def count(value: float) -> str:
    """``47``; with one decimal where parts are counted by the share of their pictures."""
    return f"{value:.0f}" if value == round(value) else f"{value:.1f}"


def interval(figure: Figures) -> str:
    """``2 of 453 = 0.44 % (0.05 to 1.58 %)``; a part of which a third counts is a third of one."""
    return f"{count(figure['count'])} of {figure['of']} = {percent(figure['rate'])} ({ends(figure['ci95'])})"


def ends(ci95: Sequence[float] | None) -> str:
    """``0.05 to 1.58 %``; a dash where there is no interval."""
    return "–" if ci95 is None else f"{100 * ci95[0]:.2f} to {percent(ci95[1])}"


def per_million(ends_of: Sequence[float] | None) -> str:
    """``3 to 1,170``; a dash where there is no interval."""
    return "–" if ends_of is None else f"{ends_of[0]:,.0f} to {ends_of[1]:,.0f}"


def percent(share: float) -> str:
    """``0.44 %``."""
    return f"{100 * share:.2f} %"


def print_tables(metrics: Figures, title: str) -> None:
    """Confusion matrix, classification report, escapes, overkill and verdicts on standard output."""
    from rich.console import Console

    console = Console()
    console.print(f"[bold]{title}[/bold]: {metrics['n']} pictures, accuracy {metrics['accuracy']:.2%}")
    if not metrics["n"]:
        return
    console.print(_confusion_table(metrics), _report_table(metrics))
    console.print(f"escapes   {interval(metrics['escape'])} of the defective judged ok")
    console.print(f"overkill  {interval(metrics['overkill'])} of the good rejected")
    if "by_group" in metrics:
        _print_parts(console, metrics["by_group"])
    console.print("verdicts  " + ", ".join(f"{count} {name}" for name, count in metrics["verdicts"].items()))
    if "robustness" in metrics:
        console.print(_robustness_table(metrics["robustness"]))
    for file in metrics["unreadable"]:
        console.print(f"not counted: {file['path']}: {file['reason']}", markup=False)


def _confusion_table(metrics: Figures) -> Any:
    from rich.table import Table

    table = Table("actual \\ predicted", title="Confusion matrix")
    for label in metrics["labels"]:
        table.add_column(label, justify="right")
    for label, counts in zip(metrics["labels"], metrics["confusion_matrix"], strict=True):
        table.add_row(label, *map(str, counts))
    return table


def _report_table(metrics: Figures) -> Any:
    from rich.table import Table

    table = Table("class", title="Classification report")
    for name in ("precision", "recall", "f1", "support"):
        table.add_column(name, justify="right")
    rows = {**metrics["per_class"], "macro avg": metrics["macro_avg"], "weighted avg": metrics["weighted_avg"]}
    for name, row in rows.items():
        table.add_row(name, f"{row['precision']:.4f}", f"{row['recall']:.4f}", f"{row['f1']:.4f}", str(row["support"]))
    return table


def _print_parts(console: Any, parts: Figures) -> None:
    ppm = parts["escape_ppm"]
    drawn = parts["bootstrap"]
    console.print(f"by part   {interval(parts['right'])} of the parts right in most pictures")
    console.print(f"          escapes {interval(parts['escape'])}, bootstrap {ends(drawn['escape'])}")
    console.print(f"          overkill {interval(parts['overkill'])}, bootstrap {ends(drawn['overkill'])}")
    if ppm["ppm"] is not None:
        console.print(
            f"          {ppm['ppm']:,.0f} ({per_million(ppm['ci95'])}) escapes in a million shipped, "
            f"where {percent(ppm['defect_rate'])} come in defective"
        )


def _robustness_table(found: Figures) -> Any:
    from rich import box
    from rich.table import Table

    title = f"Other light and optics: {found['pictures']} pictures, {found['parts']} parts"
    table = Table(title=title, box=box.SIMPLE, padding=(0, 1, 0, 0))
    table.add_column("condition", no_wrap=True)
    for name in ("right", "change", "escapes", "overkill", "not inspected", "AUC"):
        table.add_column(name, justify="right")
    for row in (*found["conditions"], found["control"]):
        rates = [percent(row[key]["rate"]) for key in ("escape", "overkill")]
        auc = "–" if row["auc"] is None else f"{row['auc']:.4f}"
        values = percent(row["accuracy"]), f"{row['change']:+.2f}", *rates, str(row["not_inspected"]), auc
        table.add_row(row["condition"], *values)
    return table
