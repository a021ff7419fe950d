"""How fast the default recipe trains on this machine, and whether the batches keep up with the network.

    python bench/training.py [DATA] [--parts N] [--threads N]

Runs `fit` for two epochs on DATA, or on castings that are drawn for it, and writes nothing that stays. The first
epoch compiles the network, the second is what all further ones take: so the time of a whole run is estimated. The
clock starts before any library is loaded. A cache of the disk is not emptied.
"""

import argparse
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edge_qc_trainer.config import Recipe

WANTED_SHARE, WANTED_MINUTES = 0.15, 15


@dataclass
class Clock:
    """What is measured: seconds."""

    began: float = field(default_factory=time.perf_counter)
    first_step: float = 0.0
    making_cpu: list[float] = field(default_factory=list)
    waits: list[float] = field(default_factory=list)
    steps: list[float] = field(default_factory=list)
    steps_cpu: list[float] = field(default_factory=list)

    def watch(self, made_ahead: Callable[..., Iterator[Any]]) -> Callable[..., Iterator[Any]]:
        """``batches.made_ahead`` that notes the time of each batch, of each wait for one, and of each step."""

        def watched(make: Callable[[int], Any], first: int, last: int, threads: int) -> Iterator[Any]:
            def made(number: int) -> object:
                began = time.thread_time()
                batch = make(number)
                self.making_cpu.append(time.thread_time() - began)
                return batch

            batches, before, before_cpu = (
                made_ahead(made, first, last, threads),
                time.perf_counter(),
                time.process_time(),
            )
            for batch in batches:
                self.waits.append(time.perf_counter() - before)
                yield batch
                now, now_cpu = time.perf_counter(), time.process_time()
                self.first_step = self.first_step or now - self.began
                self.steps.append(now - before)
                self.steps_cpu.append(now_cpu - before_cpu)
                before, before_cpu = now, now_cpu

        return watched


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", nargs="?", type=Path)
    parser.add_argument("--parts", type=int, default=1000, help="castings to draw where no DATA is given")
    parser.add_argument("--threads", type=int, default=1, help="threads that make batches")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        data = asked.data or Path(folder) / "drawn"
        if not asked.data:
            command = [sys.executable, "-m", "edge_qc_trainer", "simulate", str(data), "--parts", str(asked.parts)]
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        measure(data, Path(folder) / "out", asked.threads)


def measure(data: Path, out: Path, threads: int) -> None:
    """Runs two epochs and prints what they took."""
    clock = Clock()
    from edge_qc_trainer import fit, job, pipeline  # noqa: PLC0415 - loading them is part of what is measured
    from edge_qc_trainer.config import Recipe  # noqa: PLC0415 - as above

    fitted: list[fit.Fitted] = []
    train, fit.made_ahead = job.train, clock.watch(fit.made_ahead)

    def train_and_keep(*arguments: object, **options: object) -> "fit.Fitted":
        fitted.append(train(*arguments, **options))
        return fitted[-1]

    job.train = train_and_keep
    recipe = Recipe()
    asked = job.Job(data=(data,), recipe=recipe.model_copy(update={"epochs": 2}), threads=threads)
    pipeline.run(asked, out, job.Progress(say=print))
    show(clock, recipe, fitted[0].epochs[1].seconds, time.perf_counter() - clock.began)


def show(clock: Clock, recipe: "Recipe", epoch_s: float, two_epochs_s: float) -> None:
    """Prints the figures, of the second epoch where an epoch's are meant."""
    import numpy as np  # noqa: PLC0415
    from rich.console import Console  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415

    later = slice(recipe.steps_per_epoch, None)
    step, cpu, wait = (float(np.mean(times[later])) for times in (clock.steps, clock.steps_cpu, clock.waits))
    making = float(np.mean(clock.making_cpu))
    whole = two_epochs_s + (recipe.epochs - 2) * epoch_s
    machine, cores = platform.processor() or platform.machine(), len(os.sched_getaffinity(0))
    title = f"{cores} cores of {machine}, load {os.getloadavg()[0]:.1f}, {datetime.now(UTC):%Y-%m-%d}"
    table = Table(title=title)
    for name in ("what", "measured", "wanted"):
        table.add_column(name, justify="left" if name == "what" else "right")
    under = f"under {WANTED_SHARE:.0%}"
    table.add_row(f"a step of {recipe.batch} pictures", f"{step * 1e3:.0f} ms", "")
    table.add_row("its CPU time, all threads", f"{cpu * 1e3:.0f} ms", "")
    table.add_row("CPU time of making a batch, in its thread", f"{making * 1e3:.0f} ms", "")
    table.add_row("... as a share of the step's time", f"{making / step:.1%}", "")
    table.add_row("... as a share of the step's CPU time", f"{making / cpu:.1%}", under)
    table.add_row("the training loop waits for a batch", f"{wait * 1e3:.1f} ms", "")
    table.add_row("... as a share of the step's time", f"{wait / step:.1%}", under)
    table.add_row("cold start to the first step done", f"{clock.first_step:.0f} s", "")
    table.add_row(f"an epoch of {recipe.steps_per_epoch} steps", f"{epoch_s:.0f} s", "")
    in_steps = float(np.sum(clock.steps[later])) / epoch_s
    table.add_row("... of which steps", f"{in_steps:.0%}", "")
    minutes = f"{whole / 60:.1f} min"
    table.add_row(f"a whole run of {recipe.epochs} epochs, with its report", minutes, f"{WANTED_MINUTES} min at most")
    Console().print(table)


if __name__ == "__main__":
    main()
