"""The command line. Heavy libraries are loaded by the command that needs them."""

import json
import shlex
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from io import TextIOWrapper
from pathlib import Path
from typing import TYPE_CHECKING

import click

from edge_qc.errors import BundleError, ConfigError, EdgeQcError
from edge_qc_trainer.errors import BackendError, DataError
from edge_qc_trainer.output import Finite, OutputFile, explained, write_whole

if TYPE_CHECKING:
    from edge_qc_trainer.job import Progress

_FOLDER = click.Path(path_type=Path)
_FAULT, _WRONG, _STOPPED = 1, 2, 128  # and the signal's number


@click.group(context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
@click.version_option(package_name="edge-qc")
def cli() -> None:
    """Trains, measures and quantizes the models of edge-qc."""


def main() -> None:
    """Runs a command. Exit status: 0 done, 1 a fault while running, 2 wrong options or data, 130 stopped by Ctrl-C."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a file's name need not be UTF-8
    try:
        cli(standalone_mode=False)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        _say("stopped")
        sys.exit(_STOPPED + signal.SIGINT)
    except ModuleNotFoundError as error:
        _say(f"{error.name} is not installed. pip install 'edge-qc[train]'")
        sys.exit(_WRONG)
    except OSError as error:
        _say(str(explained(error)))
        sys.exit(_FAULT)
    except EdgeQcError as error:
        _say(str(error))
        sys.exit(_WRONG if isinstance(error, DataError | BackendError | ConfigError | BundleError) else _FAULT)


def _say(text: str) -> None:
    click.echo(f"edge-qc-train: {text}", err=True)


@cli.command()
@click.argument("out", type=_FOLDER)
@click.option("--parts", type=click.IntRange(1, 1_000_000), required=True, help="Parts to draw.")
@click.option("--seed", type=click.IntRange(0), default=0)
@click.option("--defect-rate", type=Finite(0, 1), default=0.5, help="Share of defective parts.")
@click.option("--ok-label", default="ok_front", help="Folder of the good parts.")
@click.option("--defect-label", default="def_front", help="Folder of the defective parts.")
def simulate(out: Path, parts: int, seed: int, defect_rate: float, ok_label: str, defect_label: str) -> None:
    """Draws labelled pictures of different parts, as the simulated line shows them, into OUT."""
    from edge_qc_trainer.simulate import draw_pictures

    good, defective = draw_pictures(out, parts, seed, defect_rate, ok_label, defect_label)
    click.echo(f"{out}: {good} in {ok_label}, {defective} in {defect_label}")


def _policy_options(command: Callable[..., None]) -> Callable[..., None]:
    """The options that say what the decision thresholds are chosen for."""
    cost = Finite(0, min_open=True)
    rate = Finite(0, 1, min_open=True, max_open=True)
    for option in (
        click.option("--defect-rate", type=rate, default=0.02, help="Share of defective parts that come in."),
        click.option("--cost-unsure", type=cost, help="Of a part to look at. [default: none is left unsure]"),
        click.option("--cost-overkill", type=cost, help="Of a good part rejected, in the same unit."),
        click.option("--cost-escape", type=cost, help="Of a defective part judged ok: thresholds of least cost."),
        click.option("--max-escape-rate", type=rate, help="Thresholds that keep the escape rate under this."),
    ):
        command = option(command)
    return command


@cli.command()
@click.argument("data", nargs=-1, required=True, type=_FOLDER)
@click.option("--out", type=_FOLDER, required=True, help="Folder for the results; an earlier run there is replaced.")
@click.option("--distinct", multiple=True, type=_FOLDER, help="More DATA, whose every picture shows another part.")
@click.option("--test", type=_FOLDER, help="Pictures to measure on, held out as they are.")
@click.option("--recipe", "recipe_file", type=_FOLDER, help="YAML file with any keys of the recipe.")
@click.option("--epochs", type=int, help="Epochs at most. [default: the recipe's]")
@click.option("--batch", type=int, help="Pictures a batch. [default: the recipe's]")
@click.option("--size", type=int, help="Side of the network's input, pixels. [default: the recipe's]")
@click.option("--seed", type=click.IntRange(0), default=0, help="Of the split, the weights and the variations.")
@click.option("--ok-label", multiple=True, help="A good class. [default: names that start with ok, good or pass]")
@click.option("--name", default="casting", help="Name of the model.")
@click.option("--model-version", default="1.0.0", help="Version of the model.")
@click.option("--groups/--no-groups", "group", default=True, help="Keep near copies of a part together in the split.")
@click.option("--folds", type=click.IntRange(2, 20), help="Cross-validate by part, then train on all parts.")
@click.option("--licence-note", help="Text, or a file with it, on the data and its licence, for the model card.")
@click.option("--threads", type=click.IntRange(1, 64), default=1, help="Threads that prepare pictures.")
@click.option("--robustness/--no-robustness", default=True, help="Measure under other light and optics too.")
@click.option("--audit", type=_FOLDER, help="The JSON of edge-qc-train audit, whose findings go into the report.")
@click.option("--beside", multiple=True, type=_FOLDER, help="metrics.json of the same run with another seed.")
@click.option("--restart", is_flag=True, help="Begin anew where the same command was stopped before.")
@_policy_options
def fit(  # noqa: PLR0913, PLR0917 - one argument an option
    data: tuple[Path, ...],
    out: Path,
    distinct: tuple[Path, ...],
    test: Path | None,
    recipe_file: Path | None,
    epochs: int | None,
    batch: int | None,
    size: int | None,
    seed: int,
    ok_label: tuple[str, ...],
    name: str,
    model_version: str,
    group: bool,  # noqa: FBT001 - click gives options by name
    folds: int | None,
    licence_note: str | None,
    threads: int,
    robustness: bool,  # noqa: FBT001
    audit: Path | None,
    beside: tuple[Path, ...],
    restart: bool,  # noqa: FBT001
    max_escape_rate: float | None,
    cost_escape: float | None,
    cost_overkill: float | None,
    cost_unsure: float | None,
    defect_rate: float,
) -> None:
    """Fits a network to DATA and turns it into a bundle for the device.

    DATA holds a folder for each class, or train/ and test/ that hold such folders. Several DATA are pooled.
    Ctrl-C leaves a checkpoint beside OUT, and the same command goes on from it.
    """
    from edge_qc.domain import printable
    from edge_qc_trainer import pipeline, report
    from edge_qc_trainer.config import load_recipe
    from edge_qc_trainer.job import Job
    from edge_qc_trainer.threshold import Policy

    if folds and test:
        raise DataError(
            "--folds and --test exclude each other",
            expected="one way to measure",
            got="two",
            remedy="Fit with --folds, then measure with edge-qc-train evaluate",
        )
    job = Job(
        data=data,
        distinct=distinct,
        test=test,
        recipe=load_recipe(recipe_file).with_options(epochs=epochs, batch=batch, size=size),
        seed=seed,
        ok_labels=ok_label,
        name=name,
        version=model_version,
        group=group,
        folds=folds or 0,
        threads=threads,
        command=printable(shlex.join(["edge-qc-train", *sys.argv[1:]])),
        policy=Policy(max_escape_rate, cost_escape, cost_overkill, cost_unsure, defect_rate),
        robustness=robustness,
        audit=audit,
        beside=beside,
    )
    if licence_note is not None:
        job = replace(job, licence_note=_text_or_file(licence_note))
    with _stoppable(out), _progress() as progress:
        metrics = pipeline.run(job, out, progress, restart=restart)
    report.print_tables(metrics, "Parts that the judging model never saw")
    click.echo(f"{out / 'bundle'}: install it with edge-qc model install")


@cli.command()
@click.argument("data", type=_FOLDER)
@click.option("--model", type=_FOLDER, help="A bundle. [default: the one that ships]")
@click.option("--json", "json_file", type=OutputFile(), help="Write the figures here too.")
@click.option("--robustness", is_flag=True, help="Measure under other light and optics too.")
@click.option("--groups/--no-groups", "group", default=True, help="Count near copies of a part as one part.")
@click.option("--defect-rate", type=Finite(0, 1), default=0.02, help="Share of defective parts that come in.")
@click.option("--seed", type=click.IntRange(0), default=0, help="Of the bootstrap, and of noise, lamp and moves.")
def evaluate(
    data: Path,
    model: Path | None,
    json_file: Path | None,
    robustness: bool,  # noqa: FBT001
    group: bool,  # noqa: FBT001
    defect_rate: float,
    seed: int,
) -> None:
    """Judges the labelled pictures in DATA with the device's own code."""
    from edge_qc.bundle import SHIPPED, load_bundle
    from edge_qc_trainer import dataset, measure, report

    bundle = load_bundle(model or SHIPPED)
    files = dataset.find_files(dataset.train_and_test(data)[1] or data)
    with _progress() as progress:
        found = measure.figures_of_bundle(
            bundle, files, progress, group=group, robustness=robustness, defect_rate=defect_rate, seed=seed
        )
    found["made"]["data"] = str(data)
    if json_file:
        write_whole(json_file, json.dumps(found, indent=2, allow_nan=False) + "\n")
    report.print_tables(found, f"{bundle.card.id} on {data}")


@cli.command()
@click.argument("data", type=_FOLDER)
@click.option("--model", type=_FOLDER, help="A bundle. [default: the one that ships]")
@click.option("--groups/--no-groups", "group", default=True, help="Count near copies of a part as one part.")
@_policy_options
def threshold(data: Path, model: Path | None, group: bool, **policy: float | None) -> None:  # noqa: FBT001
    """Chooses decision thresholds on DATA, labelled pictures of parts that the model never saw.

    Prints them as the device's config takes them.
    """
    from edge_qc.bundle import SHIPPED, load_bundle
    from edge_qc_trainer import dataset, measure, report
    from edge_qc_trainer.threshold import Policy, choose

    asked = Policy(**policy)  # type: ignore[arg-type] # click gives the defect rate its default
    bundle = load_bundle(model or SHIPPED)
    files = dataset.find_files(dataset.train_and_test(data)[1] or data)
    with _progress() as progress:
        judgements, groups, _ = measure.judge_by_part(bundle, files, progress, group=group)
    chosen = choose(judgements, groups, bundle.card.ok_labels, asked)
    click.echo(f"# {bundle.card.id} on {data}: {chosen.figures['rule']}")
    for name in ("escape", "overkill", "unsure"):
        click.echo(f"# {name} of parts: {report.interval(chosen.figures[name])}")
    found = chosen.thresholds
    click.echo(f"decide:\n  ok_below: {found.ok_below:.9g}\n  reject_from: {found.reject_from:.9g}")


@cli.command()
@click.argument("data", type=_FOLDER)
@click.option("--against", type=_FOLDER, help="Pictures that must not show a part of DATA: a test set, say.")
@click.option("--out", "page_file", type=OutputFile(), help="Write a page with thumbnails of each finding here.")
@click.option("--json", "json_file", type=OutputFile(), help="Write the findings here, with the path of every picture.")
@click.option("--threshold", type=Finite(0, 1, min_open=True), help="Correlation that makes one part of two.")
@click.option("--strict", is_flag=True, help="Exit with 1 if anything serious is found.")
def audit(
    data: Path,
    against: Path | None,
    page_file: Path | None,
    json_file: Path | None,
    threshold: float | None,
    strict: bool,  # noqa: FBT001
) -> None:
    """Looks at DATA as a suspicious engineer would: broken files, copies, leakage, wrong labels, confounds.

    DATA holds a folder for each class, or train/ and test/ that hold such folders and are held against each other.
    """
    from edge_qc_trainer import audit_page
    from edge_qc_trainer.audit import THRESHOLD
    from edge_qc_trainer.audit import audit as look

    with _progress() as progress:
        found = look(data, against, threshold or THRESHOLD, progress)
    audit_page.print_table(found)
    if json_file:
        write_whole(json_file, json.dumps(audit_page.as_json(found), indent=2) + "\n")
    if page_file:
        write_whole(page_file, audit_page.page(found, shlex.join(["edge-qc-train", *sys.argv[1:]])))
        click.echo(f"{page_file}: open it in a browser; it holds pictures of the data")
    if strict and found.count("serious"):
        sys.exit(_FAULT)


@cli.command()
@click.argument("keras_file", metavar="MODEL.keras", type=click.Path(path_type=Path, dir_okay=False, exists=True))
@click.option("--calibrate", type=_FOLDER, required=True, help="Training pictures, which set the ranges of int8.")
@click.option("--out", type=_FOLDER, required=True, help="The bundle's folder.")
@click.option("--label", "labels", multiple=True, help="The classes in the network's order. [default: as fit noted]")
@click.option("--ok-label", multiple=True, help="A good class. [default: as fit noted]")
@click.option("--name", help="Name of the model. [default: as fit noted]")
@click.option("--model-version", help="Version of the model. [default: as fit noted]")
def convert(
    keras_file: Path,
    calibrate: Path,
    out: Path,
    labels: tuple[str, ...],
    ok_label: tuple[str, ...],
    name: str | None,
    model_version: str | None,
) -> None:
    """Quantizes a fitted network to int8 and writes a bundle."""
    from edge_qc_trainer import requantize

    names = {key: value for key, value in (("name", name), ("version", model_version)) if value}
    with _progress() as progress:
        size = requantize.convert(keras_file, calibrate, out, labels, ok_label, names, progress)
    click.echo(f"{out}: {size / 1000:.0f} KB; measure it with edge-qc-train evaluate DATA --model {out}")


@cli.command()
@click.argument("bundle", type=_FOLDER)
@click.argument("data", nargs=-1, required=True, type=_FOLDER)
@click.option("--threads", type=click.IntRange(1, 64), default=1, help="Threads that measure pictures.")
def statistics(bundle: Path, data: tuple[Path, ...], threads: int) -> None:
    """Puts what the gate knows of the training pictures in DATA into BUNDLE. `fit` and `convert` do so themselves."""
    from edge_qc_trainer.statistics import remake

    with _progress() as progress:
        remade = remake(bundle, data, progress.counter, threads)
    noted = remade.card.statistics
    click.echo(f"{bundle}: statistics of {noted.pictures if noted else 0} pictures")


def _text_or_file(text: str) -> str:
    with suppress(OSError, ValueError):  # it can be no name of a file: a long sentence, say
        if Path(text).is_file():
            return Path(text).read_text("utf-8", "replace").strip()
    return text


@contextmanager
def _stoppable(out: Path) -> Iterator[None]:
    """Ctrl-C and SIGTERM end a run with a line on how to go on, and 128 and the signal's number as exit status."""
    from edge_qc_trainer.checkpoint import how_to_go_on

    stopped_by = signal.SIGINT

    def stop(*_: object) -> None:
        nonlocal stopped_by
        stopped_by = signal.SIGTERM
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    except KeyboardInterrupt:
        _say(how_to_go_on(out))
        sys.exit(_STOPPED + stopped_by)
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def _progress() -> Iterator["Progress"]:
    """A bar with the time left, on standard error."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    from edge_qc_trainer.job import Progress

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Bar(*columns, TextColumn("{task.fields[text]}"), console=Console(stderr=True)) as bar:

        def begin(what: str, total: int) -> Callable[[int, str], None]:
            task = bar.add_task(what, total=total, text="")
            return lambda done, text: bar.update(task, completed=done, text=text)

        yield Progress(begin, lambda text: bar.console.print(text, markup=False, highlight=False))


if __name__ == "__main__":
    main()
