"""How right the trained model is, of two kinds that are never mixed up: parts it has not seen, and a split by picture.

    python bench/accuracy.py DATA [--distinct DIR] [--recipe FILE] [--seeds N ...] [--epochs-by-picture N] [--out DIR]

Unseen parts: `edge-qc-train fit --folds 5` for each seed, all of which are reported. By picture, for comparison with
published figures: one `fit --no-groups`, whose held-out pictures have copies in training. All verdicts are the int8
model's, by the device's own code. A run that lies in --out already is read, not made again, and a stopped one goes on.
It takes some 15 minutes a seed on two cores.
"""

import argparse
import json
import os
import platform
import shlex
import subprocess
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

FOLDS = 5
Figures = dict[str, Any]


def figures_of(out: Path, options: Sequence[str]) -> Figures:
    """The figures of a run of ``fit``, which is made where there is none yet."""
    asked, noted = shlex.join(options), out.with_suffix(".options")
    if not (out / "metrics.json").exists():
        command = [sys.executable, "-m", "edge_qc_trainer", "fit", *options, "--out", str(out)]
        subprocess.run(command, check=True, stdout=sys.stderr)
        noted.write_text(asked + "\n", "utf-8")
    elif not noted.exists() or noted.read_text("utf-8").strip() != asked:
        sys.exit(f"{out} is of another run than `fit {asked}`: give another --out, or remove it")
    figures: Figures = json.loads((out / "metrics.json").read_text("utf-8"))
    return figures


def share(rate: Figures) -> str:
    """A rate with its count."""
    return f"{rate['count']:g} of {rate['of']} ({rate['rate']:.2%})"


def show_accuracy(runs: dict[str, Figures]) -> None:
    """One row a run: pictures, parts, and what quantization cost."""
    table = Table(title="By the int8 model, on the device's code", title_justify="left")
    names = ("run", "pictures right", "95 %", "escapes", "overkill", "area", "parts right", "flipped by int8", "float")
    for name in names:
        table.add_column(name, justify="left" if name == "run" else "right")
    for name, run in runs.items():
        low, high = run["accuracy_ci95"]
        parts = run["by_group"]["right"] if run.get("by_group") else None
        int8 = run["quantization"]
        table.add_row(
            name,
            f"{run['accuracy']:.2%} of {run['n']}",
            f"{low:.2%} to {high:.2%}",
            share(run["escape"]),
            share(run["overkill"]),
            f"{run['auc']:.4f}",
            f"{parts['count']} of {parts['of']}" if parts else "",
            f"{int8['flipped']}",
            f"{int8['float']['accuracy']:.2%}",
        )
    Console(highlight=False, width=170).print(table)


def show_robustness(runs: dict[str, Figures]) -> None:
    """One row a condition, one column a run: the change against the clean pictures, in points."""
    runs = {name: run["robustness"] for name, run in runs.items() if run.get("robustness")}
    table = Table(title="Other light and optics, change in points", title_justify="left")
    table.add_column("condition")
    for name in runs:
        table.add_column(name, justify="right")
    for row, first in enumerate(next(iter(runs.values()))["conditions"]):
        found = [run["conditions"][row] for run in runs.values()]
        shown = [f"{one['accuracy']:.1%}" if not row else f"{one['change']:+.1f}" for one in found]
        table.add_row(first["condition"], *shown)
    controls = [run["control"] for run in runs.values()]
    table.add_row(
        "background only",
        *(f"AUC {control['auc']:.2f}" if control["auc"] is not None else "cannot be judged" for control in controls),
    )
    Console(highlight=False, width=170).print(table)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", nargs="?", type=Path)
    parser.add_argument("--distinct", type=Path)
    parser.add_argument("--recipe", type=Path)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--epochs-by-picture", type=int, default=20, help="0 leaves that run out")
    parser.add_argument("--out", type=Path, default=Path("runs/accuracy"))
    asked = parser.parse_args()
    if asked.data is None:
        sys.exit("give DATA, the pictures of real parts: drawn ones would tell nothing. Left out")
    distinct = ["--distinct", str(asked.distinct)] if asked.distinct else []
    recipe = ["--recipe", str(asked.recipe)] if asked.recipe else []
    options = [str(asked.data), *distinct, *recipe]
    runs = {
        f"unseen parts, seed {seed}": figures_of(
            asked.out / f"seed-{seed}", [*options, "--folds", str(FOLDS), "--seed", str(seed)]
        )
        for seed in asked.seeds
    }
    show_robustness(runs)
    if asked.epochs_by_picture:
        by_picture = [
            str(asked.data),
            *recipe,
            "--no-groups",
            "--epochs",
            str(asked.epochs_by_picture),
            "--no-robustness",
        ]
        runs["by picture"] = figures_of(asked.out / "by-picture", by_picture)
    show_accuracy(runs)
    cores, load = len(os.sched_getaffinity(0)), os.getloadavg()[0]
    print(
        f"{cores} cores of {platform.processor() or platform.machine()}, load {load:.1f}, {datetime.now(UTC):%Y-%m-%d}"
    )


if __name__ == "__main__":
    main()
