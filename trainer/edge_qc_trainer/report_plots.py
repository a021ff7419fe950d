"""The report's plots as inline SVG: text stays text, and the same figures give the same bytes."""

import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from edge_qc_trainer.evaluate import Judgement
from edge_qc_trainer.intervals import proportion
from edge_qc_trainer.metrics import Figures

# Two hues that also differ for those who see red and green alike (Okabe and Ito, 2008).
GOOD, DEFECTIVE = "#0072b2", "#d55e00"
FEWEST_SHOWN = 20  # pictures with such a score: of fewer, the share of defective ones says nothing
_INK, _FAINT = "#333333", "#666666"
_STYLE: dict[str, Any] = {
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.sans-serif": ["Helvetica", "Arial", "DejaVu Sans"],
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": _FAINT,
    "axes.labelcolor": _INK,
    "xtick.color": _INK,
    "ytick.color": _INK,
    "axes.grid": True,
    "grid.color": "#e6e6e6",
    "grid.linewidth": 0.6,
    "axes.axisbelow": True,
    "legend.frameon": False,
    "figure.constrained_layout.use": True,
}


def curves(history: list[dict[str, Any]], best: int, folds: Sequence[list[dict[str, Any]]] = ()) -> str:
    """Loss and accuracy by epoch: of the model itself, and in thin lines of the folds, whose models were measured."""
    with _styled("curves") as figure:
        figure.set_size_inches(7.4, 2.6)
        for axes, name in zip(figure.subplots(1, 2), ("loss", "accuracy"), strict=True):
            for number, fold in enumerate(folds):
                label = "training, each fold" if number == 0 else None
                axes.plot(_of(fold, "epoch"), _of(fold, name), color=_FAINT, linewidth=0.7, alpha=0.8, label=label)
            label = "training, final model" if folds else "training (varied)"
            axes.plot(_of(history, "epoch"), _of(history, name), marker=".", color=_INK, label=label)
            if history[0][f"validation_{name}"] is not None:
                values = _of(history, f"validation_{name}")
                axes.plot(_of(history, "epoch"), values, marker=".", color=GOOD, label="validation")
                axes.axvline(best, color=_INK, linestyle=":", linewidth=1, label="taken")
            axes.set(xlabel="epoch", ylabel=name)
            axes.xaxis.get_major_locator().set_params(integer=True)
            axes.legend()
        return _svg(figure, "Loss and accuracy by epoch")


def _of(history: list[dict[str, Any]], key: str) -> list[float]:
    return [row[key] for row in history]


def confusion(metrics: Figures) -> str:
    """The confusion matrix: rows actual, columns predicted."""
    labels, matrix = metrics["labels"], np.array(metrics["confusion_matrix"])
    shares = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    with _styled("confusion") as figure:
        side = 1.2 + 0.75 * len(labels)
        figure.set_size_inches(side + 0.4, side)
        axes = figure.subplots()
        axes.grid(visible=False)
        axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
        places = range(len(labels))
        axes.set(xticks=places, yticks=places, xlabel="predicted", ylabel="actual")
        axes.set_xticklabels(labels, rotation=30 if len(labels) > 3 else 0)
        axes.set_yticklabels(labels, rotation=90 if len(labels) <= 3 else 0, va="center")
        axes.tick_params(length=0)
        axes.spines[:].set_visible(False)
        for (row, column), count in np.ndenumerate(matrix):
            color = "white" if shares[row, column] > 0.5 else "black"
            axes.text(column, row, f"{count:,}", ha="center", va="center", color=color, fontsize=11)
        return _svg(figure, "Confusion matrix")


def scores(judgements: Sequence[Judgement], ok_labels: Sequence[str], thresholds: Figures) -> str:
    """How many pictures have which score, good and defective ones, and where the thresholds lie.

    The counts' axis is linear to 1, then logarithmic: a single escape must be seen beside thousands.
    """
    bins = np.linspace(0, 1, 41)
    with _styled("scores") as figure:
        figure.set_size_inches(7.4, 2.6)
        axes = figure.subplots()
        axes.set_yscale("symlog", linthresh=1)
        styles = {"good": (GOOD, None, "-"), "defective": (DEFECTIVE, "//", "--")}
        for name, (color, hatch, line) in styles.items():
            good = name == "good"
            of_kind = [j.score for j in judgements if j.score is not None and (j.label in ok_labels) == good]
            axes.hist(of_kind, bins, color=color, alpha=0.2, hatch=hatch)
            counts, _, _ = axes.hist(of_kind, bins, color=color, histtype="step", linewidth=1.3, linestyle=line)
            _name_highest(axes, name, color, np.asarray(counts), bins)
        axes.yaxis.set_major_formatter("{x:,g}")
        axes.set(xlabel="score: probability of a defect", ylabel="pictures", xlim=(0, 1), ylim=(0, None))
        low, high = thresholds["ok_below"], thresholds["reject_from"]
        if low < high:
            axes.axvspan(low, high, color="#bbbbbb", alpha=0.35, linewidth=0)
        for value in {low, high}:
            axes.axvline(value, color=_INK, linewidth=1)
        between = "unsure between, " if low < high else ""
        axes.set_title(f"ok under {low:.4g}, {between}reject from {high:.4g}", fontsize=9, color=_INK)
        return _svg(figure, "Histogram of the scores with the thresholds")


def _name_highest(axes: Any, name: str, color: str, counts: np.ndarray, bins: np.ndarray) -> None:
    """Writes a name beside the highest bin, on the side where there is room."""
    if not counts.any():
        return
    place = int(counts.argmax())
    left = place < len(counts) // 2
    edge = bins[place + 1] + 0.008 if left else bins[place] - 0.008
    side = "left" if left else "right"
    axes.text(edge, counts[place], name, color=color, ha=side, va="top", fontsize=10, fontweight="bold")


def reliability(calibration: Figures) -> str:
    """Share of defective pictures by score, with intervals; on the diagonal a score is what it says."""
    rows = [row for row in calibration["bins"] if row["pictures"] >= FEWEST_SHOWN]
    with _styled("reliability") as figure:
        figure.set_size_inches(3.4, 3.2)
        axes = figure.subplots()
        axes.plot([0, 1], [0, 1], color=_FAINT, linestyle="--", linewidth=1)
        for row in rows:
            low, high = proportion(round(row["defective"] * row["pictures"]), row["pictures"])["ci95"]
            axes.plot([row["score"]] * 2, [low, high], color=_INK, linewidth=1)
        axes.scatter([row["score"] for row in rows], [row["defective"] for row in rows], s=26, color=_INK, zorder=3)
        axes.set(xlabel="mean score", ylabel="share defective", xlim=(-0.04, 1.04), ylim=(-0.04, 1.04))
        axes.set_aspect("equal")
        return _svg(figure, "Reliability diagram")


@contextmanager
def _styled(name: str) -> Iterator[Any]:
    """A figure under the report's style; ids within its SVG differ from those of the page's other plots."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    with rc_context({**_STYLE, "svg.hashsalt": name}):
        yield Figure()


def _svg(figure: Any, said: str) -> str:
    """The figure as an element of the page; ``said`` is what a screen reader says in its place."""
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata=dict.fromkeys(("Creator", "Date", "Format", "Type")))
    text = buffer.getvalue()
    return text[text.index("<svg") :].replace("<svg ", f'<svg role="img" aria-label="{said}" ', 1)
