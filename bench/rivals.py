"""Our network beside MobileNetV2 1.0 and EfficientNet-B0 on parts that none of them has seen, trained as long.

    python bench/rivals.py DATA [--distinct DIR] [--recipe FILE] [--folds N] [--of K] [--seed N]

For K of N folds by part: ours is fitted by the recipe, then the two others, with random first weights as ours has, on
the same batches (same rings, same variation, same drawn defects) for as many seconds on the same machine. Theirs is
AdamW with averaged weights and a cosine; batch norm is measured anew at the end, as for ours. Float, uncalibrated, all
held-out pictures: the area under the curve, and the share right at the level that would have been best, of pictures
and of parts (in most of their pictures), so that nobody's level decides.
"""

import argparse
import math
import os
import platform
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import numpy.typing as npt
from rich.console import Console
from rich.table import Table
from sklearn.metrics import roc_auc_score

from edge_qc_trainer.batches import Sampler, made_ahead
from edge_qc_trainer.calibrate import defect_log_odds
from edge_qc_trainer.config import Recipe, load_recipe
from edge_qc_trainer.crossval import deal_into_folds
from edge_qc_trainer.fit import average_weights, import_keras, logits_of
from edge_qc_trainer.job import Job, Material, Progress, fit_network, gather, sampler_of, seconds_of

RATE, WEIGHT_DECAY, LEVELS = 2e-3, 0.01, 400
OURS = "ours"


@dataclass
class Result:
    """A network's log-odds of the held-out pictures, fold after fold, and what it took."""

    batches: list[int] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    log_odds: list[npt.NDArray[np.float64]] = field(default_factory=list)


def mobile_net(inputs: Any) -> Any:  # noqa: ANN401 - keras has no types
    """MobileNetV2 1.0 for standardised pictures and two classes."""
    import keras  # noqa: PLC0415

    return keras.applications.MobileNetV2(weights=None, input_tensor=inputs, classes=2, classifier_activation=None)


def efficient_net(inputs: Any) -> Any:  # noqa: ANN401
    """EfficientNet-B0, which divides by 255 what it is given."""
    import keras  # noqa: PLC0415

    scaled = keras.layers.Rescaling(255.0)(inputs)
    return keras.applications.EfficientNetB0(weights=None, input_tensor=scaled, classes=2, classifier_activation=None)


RIVALS: dict[str, Callable[[Any], Any]] = {"MobileNetV2 1.0": mobile_net, "EfficientNet-B0": efficient_net}


def train_for(model: Any, sampler: Sampler, recipe: Recipe, seconds: float) -> int:  # noqa: ANN401
    """Trains a Keras application for so long; how many batches that were."""
    import keras  # noqa: PLC0415

    optimizer = keras.optimizers.AdamW(RATE, weight_decay=WEIGHT_DECAY, use_ema=True, ema_momentum=recipe.average)
    loss = keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=recipe.label_smoothing)
    model.compile(optimizer, loss)
    began_s, done = time.monotonic(), 0
    for pictures, targets, _ in made_ahead(sampler.batch, 0, 1_000_000, 1):
        share = (time.monotonic() - began_s) / seconds
        if share >= 1:
            break
        optimizer.learning_rate = RATE * (0.01 + 0.99 * (1 + math.cos(math.pi * share)) / 2) * min(1, (done + 1) / 20)
        model.train_on_batch(pictures, targets)
        done += 1
    average_weights(model, sampler)
    return done


def run(job: Job, material: Material, folds: int) -> tuple[dict[str, Result], list[npt.NDArray[np.int64]]]:
    """All networks on the first so many folds; and the places of the held-out pictures of each."""
    keras, progress, results = import_keras(), Progress(say=print), {name: Result() for name in (OURS, *RIVALS)}
    good, size, held_out = material.dataset.good(job.ok_labels), job.recipe.size, []
    for number, split in enumerate(deal_into_folds(material, job)[:folds], 1):
        of_fold = material.with_split(split)
        seen, normalisation = material.dataset.seen(split.held_out), material.dataset.normalisation
        held_out.append(split.held_out)
        fitted = fit_network(job, of_fold, progress)
        seconds = seconds_of(fitted)
        models = {OURS: (fitted.model, len(fitted.epochs) * job.recipe.steps_per_epoch, seconds)}
        for name, build in RIVALS.items():
            keras.utils.set_random_seed(job.seed)
            model = build(keras.layers.Input((size, size, 1)))
            models[name] = (model, train_for(model, sampler_of(job, of_fold), job.recipe, seconds), seconds)
        for name, (model, batches, taken_s) in models.items():
            results[name].batches.append(batches)
            results[name].seconds.append(taken_s)
            results[name].log_odds.append(defect_log_odds(logits_of(model, seen, normalisation), good, 1.0))
            print(f"fold {number}: {name}, {batches} batches in {taken_s:.0f} s", flush=True)
    return results, held_out


def figures(
    log_odds: npt.NDArray[np.float64], defective: npt.NDArray[np.bool_], groups: npt.NDArray[np.int64]
) -> tuple[float, float, int]:
    """Area under the curve; and at the level that is best for the pictures, the share right and the parts wrong."""
    levels = np.quantile(log_odds, np.linspace(0, 1, LEVELS))
    right = max(((log_odds > level) == defective for level in levels), key=np.mean)
    wrong = sum(bool(right[groups == group].mean() <= 0.5) for group in np.unique(groups))
    return float(roc_auc_score(defective, log_odds)), float(right.mean()), wrong


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", nargs="?", type=Path)
    parser.add_argument("--distinct", type=Path)
    parser.add_argument("--recipe", type=Path)
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--of", type=int, default=2, help="how many of the folds are run")
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    if asked.data is None:
        sys.exit("give DATA, the pictures of real parts: drawn ones would tell nothing. Left out")
    distinct = (asked.distinct,) if asked.distinct else ()
    job = Job((asked.data,), load_recipe(asked.recipe), distinct, seed=asked.seed, folds=asked.folds)
    material = gather(job, Progress(say=print))
    results, held_out = run(job, material, asked.of)
    cores, load = len(os.sched_getaffinity(0)), os.getloadavg()[0]
    print(
        f"{cores} cores of {platform.processor() or platform.machine()}, load {load:.1f}, {datetime.now(UTC):%Y-%m-%d}"
    )
    table = Table()
    for name in ("network", "fold", "batches", "seconds", "area", "right at the best level", "parts wrong"):
        table.add_column(name, justify="left" if name == "network" else "right")
    good = material.dataset.good(job.ok_labels)
    for number, places in enumerate(held_out):
        defective, groups = ~good[material.dataset.targets[places]], material.groups[places]
        for name, result in results.items():
            area, right, wrong = figures(result.log_odds[number], defective, groups)
            of = f"{wrong} of {len(np.unique(groups))}"
            taken = str(result.batches[number]), f"{result.seconds[number]:.0f}"
            table.add_row(name, str(number + 1), *taken, f"{area:.4f}", f"{right:.2%}", of)
    Console(highlight=False).print(table)


if __name__ == "__main__":
    main()
