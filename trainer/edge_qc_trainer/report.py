"""What a person reads of a run: an HTML page that needs nothing beside it, a model card, and tables for a terminal."""

import io
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
    environment.filters["interval"] = interval
    return str(environment.get_template(template).render(**values)) + "\n"


def interval(figure: Figures) -> str:
    """``2 of 453 = 0.44 % (0.05 to 1.58 %)``."""
    low, high = figure["ci95"]
    return f"{figure['count']} of {figure['of']} = {figure['rate']:.2%} ({100 * low:.2f} to {high:.2%})"


def curves_svg(history: list[dict[str, Any]], best: int) -> str:
    """Loss and accuracy by epoch, as inline SVG."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.2), layout="constrained")
    for axes, name in zip(figure.subplots(1, 2), ("loss", "accuracy"), strict=True):
        epochs = [row["epoch"] for row in history]
        axes.plot(epochs, [row[name] for row in history], marker=".", label="training (varied pictures)")
        if history[0][f"validation_{name}"] is not None:
            axes.plot(epochs, [row[f"validation_{name}"] for row in history], marker=".", label="validation")
            axes.axvline(best, color="grey", linestyle=":", label="chosen")
        axes.set(xlabel="epoch", ylabel=name)
    axes.legend()
    return _svg(figure)


def confusion_svg(metrics: Figures) -> str:
    """The confusion matrix, rows actual and columns predicted, as inline SVG."""
    from matplotlib.figure import Figure

    labels, matrix = metrics["labels"], metrics["confusion_matrix"]
    side = 2 + 0.9 * len(labels)
    figure = Figure(figsize=(side + 0.6, side), layout="constrained")
    axes = figure.subplots()
    axes.imshow(matrix, cmap="Blues")
    axes.set(xticks=range(len(labels)), yticks=range(len(labels)), xlabel="predicted", ylabel="actual")
    axes.set_xticklabels(labels, rotation=30)
    axes.set_yticklabels(labels)
    darkest = max(map(max, matrix))
    for row, counts in enumerate(matrix):
        for column, count in enumerate(counts):
            axes.text(column, row, count, ha="center", color="white" if count > darkest / 2 else "black")
    return _svg(figure)


def _svg(figure: Any) -> str:
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None})
    text = buffer.getvalue()
    return text[text.index("<svg") :]


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
    console.print("verdicts  " + ", ".join(f"{count} {name}" for name, count in metrics["verdicts"].items()))
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
