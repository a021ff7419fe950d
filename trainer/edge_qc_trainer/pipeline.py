"""THE PIPELINE of ``fit``: read, group near copies, split, fit, quantize, judge as the device does, report."""

import json
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import yaml

from edge_qc.bundle import Bundle, write_bundle
from edge_qc_trainer import dataset, report
from edge_qc_trainer.batches import Sampler, sampling_weights
from edge_qc_trainer.card import Notes, bundle_of, check_name, notes_file, readable_card, versions
from edge_qc_trainer.config import Recipe
from edge_qc_trainer.convert import Quantized, choose_calibration, quantize
from edge_qc_trainer.dataset import Dataset, IntArray, LabelledFile
from edge_qc_trainer.errors import BackendError, DataError
from edge_qc_trainer.evaluate import judge
from edge_qc_trainer.fit import Fitted, Validation, import_keras, train
from edge_qc_trainer.groups import group_near_copies
from edge_qc_trainer.metrics import Figures, by_group, figures
from edge_qc_trainer.split import Split, split_by_group

# With --all, only the epoch and the temperature still need pictures.
ALL_VALIDATION_SHARE = 0.08


@dataclass(frozen=True, slots=True)
class Job:
    """What ``fit`` was asked for.

    Attributes:
        data: folders whose pictures may show the same part several times.
        distinct: folders whose every picture shows another part.
        test: a folder to measure on, held out as it is.
        recipe: how to fit.
        seed: of everything.
        ok_labels: the good classes; empty: by their names.
        name: of the model.
        version: of the model, such as ``1.0.0``.
        group: whether near copies are looked for.
        metrics_from: ``metrics.json`` of an earlier run with held-out parts. Given, this run trains on all parts but
            a few for validation, and measures on none.
        threads: threads that make batches.
        licence_note: a sentence on the data and its licence, for the card.
        command: as it was typed, for the card.
    """

    data: tuple[Path, ...]
    recipe: Recipe
    distinct: tuple[Path, ...] = ()
    test: Path | None = None
    seed: int = 0
    ok_labels: tuple[str, ...] = ()
    name: str = "casting"
    version: str = "1.0.0"
    group: bool = True
    metrics_from: Path | None = None
    licence_note: str = "Its licence is that of its data."
    threads: int = 1
    command: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class Material:
    """The pictures of a job, what part each shows, and what each is for."""

    dataset: Dataset
    groups: IntArray
    split: Split

    def validation(self, recipe: Recipe) -> Validation:
        """The validation pictures, every part counted alike, and the classes and sources as in training."""
        data, places, by_part = self.dataset, self.split.validation, recipe.model_copy(update={"copies_power": -1.0})
        weights = sampling_weights(data.targets[places], self.groups[places], data.sources[places], by_part)
        return Validation(data.pixels[places], data.targets[places], weights)

    def files(self, places: IntArray) -> list[LabelledFile]:
        """The files of some pictures."""
        return [self.dataset.files[place] for place in places]


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a run tells how far it is.

    Attributes:
        begin: takes what is begun and its total; gives a function that is told the count so far and a text.
        say: takes a line of text.
    """

    begin: Callable[[str, int], Callable[[int, str], object]] = lambda _what, _total: lambda _done, _text: None
    say: Callable[[str], object] = lambda _text: None

    def counter(self, what: str, total: int) -> Callable[[], None]:
        """A function that counts one up."""
        update, done = self.begin(what, total), iter(range(1, total + 1))

        def advance() -> None:
            update(next(done, total), "")

        return advance


def run(job: Job, out: Path, progress: Progress) -> Figures:
    """Trains a model and writes ``bundle/``, ``model.keras``, ``metrics.json`` and ``report.html`` into ``out``.

    Returns:
        The figures of the int8 model on the held-out pictures, as ``metrics.json`` has them.

    Raises:
        EdgeQcError: if the data, the options or a library are at fault; then ``out`` is left as it was.
    """
    check_backends()
    check_name(job.name, job.version)
    earlier = None if job.metrics_from is None else _read_metrics(job.metrics_from)
    with whole_or_absent(out) as draft:
        material = gather(job, progress)
        fitted = fit_network(job, material, progress)
        notes = notes_of(job, material, fitted)
        keras_file = draft / "model.keras"
        fitted.model.save(keras_file)
        notes_file(keras_file).write_text(notes.model_dump_json(indent=2) + "\n", "utf-8")
        progress.say("quantizing")
        quantized = quantize_fitted(job, material, keras_file)
        metrics = earlier or measure(job, material, bundle_of(quantized, notes, {}, out / "bundle"), progress)
        measured = _measured_on(job, metrics)
        bundle = bundle_of(quantized, notes, without_lists(metrics), out / "bundle")
        write_bundle(draft / "bundle", bundle.card, bundle.model, readable_card(bundle, notes, metrics, measured))
        (draft / "metrics.json").write_text(json.dumps(metrics, indent=2) + "\n", "utf-8")
        (draft / "report.html").write_text(_page(job, notes, fitted, metrics, measured), "utf-8")
    return metrics


def _read_metrics(path: Path) -> Figures:
    try:
        metrics: Figures = json.loads(path.read_text("utf-8"))
        fitting = {"n", "accuracy", "confusion_matrix", "per_class", "escape", "overkill"} <= set(metrics)
    except (OSError, ValueError, TypeError) as error:
        raise DataError(f"--metrics-from {path}", expected="metrics.json of an earlier fit", got=str(error)) from None
    if not fitting:
        raise DataError(f"--metrics-from {path}", expected="metrics.json of an earlier fit", got="other JSON")
    return metrics


def _measured_on(job: Job, metrics: Figures) -> str:
    """The sentence that says what the figures were measured on."""
    if job.metrics_from is not None:
        return (
            "These figures are not of this very model. They are those of a model of the same recipe, trained without "
            "the held-out parts and measured on them (int8, the device's own code). This one was trained on all parts."
        )
    known = metrics["held_out_near_copies_in_training"]
    if known:
        return (
            f"By the int8 model and the device's own code, on the test pictures that were given. {known} of them show "
            "parts that were trained on too, so these figures are too good."
        )
    return "By the int8 model and the device's own code, on parts that neither training nor the choice of epoch saw."


def _page(job: Job, notes: Notes, fitted: Fitted, metrics: Figures, measured: str) -> str:
    rows = [
        *metrics["per_class"].items(),
        ("macro avg", metrics["macro_avg"]),
        ("weighted avg", metrics["weighted_avg"]),
    ]
    return report.render(
        "report.html.j2",
        model=f"{notes.name}-{notes.version}",
        measured=measured,
        metrics=metrics,
        rows=rows if metrics["n"] else [],
        confusion=report.confusion_svg(metrics) if metrics["n"] else "",
        curves=report.curves_svg(fitted.history(), fitted.best),
        history=fitted.history(),
        best=fitted.best,
        temperature=fitted.temperature,
        data=notes.data,
        made_with=notes.made_with,
        command=notes.command,
        recipe=yaml.safe_dump(job.recipe.model_dump(mode="json"), sort_keys=False),
    )


def check_backends() -> None:
    """Raises ``BackendError`` before the work begins if keras, its backend or TensorFlow is missing."""
    import_keras()
    if find_spec("tensorflow") is None:
        raise BackendError(
            "tensorflow is not installed",
            expected="it, for the conversion to int8, whatever KERAS_BACKEND trains on",
            got="none",
            remedy="pip install 'edge-qc[train]'",
        )


def gather(job: Job, progress: Progress) -> Material:
    """Reads the pictures, finds out which show the same part, and splits them by part.

    Raises:
        DataError: if the data cannot be trained on.
    """
    train_files, test_files = _find(job)
    files = [*train_files, *test_files]
    dataset.choose_ok_labels(sorted({file.label for file in files}), job.ok_labels)
    data = dataset.load(files, job.recipe.size, job.recipe.fit, progress.counter("reading", len(files)))
    for skipped in data.unreadable:
        progress.say(f"skipped {skipped.path}: {skipped.reason}")
    parts = _group(job, data, progress)
    given = set(test_files)
    fixed_test = np.array([place for place, file in enumerate(data.files) if file in given], np.int64)
    split = split_by_group(
        data.targets,
        parts,
        fixed_test,
        held_out=0.0 if job.metrics_from else job.recipe.held_out_share,
        validation=ALL_VALIDATION_SHARE if job.metrics_from else job.recipe.validation_share,
        seed=job.seed,
    )
    progress.say(
        f"{len(data.files)} pictures of {len(np.unique(parts))} parts: {len(split.train)} to train on, "
        f"{len(split.validation)} for validation, {len(split.held_out)} held out"
    )
    return Material(data, parts, split)


def _find(job: Job) -> tuple[list[LabelledFile], list[LabelledFile]]:
    train_files: list[LabelledFile] = []
    test_files: list[LabelledFile] = dataset.find_files(job.test) if job.test else []
    for source, folder in enumerate((*job.data, *job.distinct)):
        train, test = dataset.train_and_test(folder)
        train_files += dataset.find_files(train, source)
        test_files += dataset.find_files(test, source) if test else []
    if test_files:
        dataset.check_same_labels((f.label for f in train_files), (f.label for f in test_files))
    return train_files, test_files


def _group(job: Job, data: Dataset, progress: Progress) -> IntArray:
    looked_at = np.flatnonzero((data.sources < len(job.data)) & job.group)
    if len(looked_at):
        progress.say(f"looking for near copies among {len(looked_at)} pictures")
    return group_near_copies(data.pixels, data.hashes, job.recipe.group_threshold, looked_at)


def fit_network(job: Job, material: Material, progress: Progress) -> Fitted:
    """Fits the network to the training pictures."""
    data, places, recipe = material.dataset, material.split.train, job.recipe
    targets = data.targets[places]
    weights = sampling_weights(targets, material.groups[places], data.sources[places], recipe)
    good, defective = _drawn_classes(data.labels, dataset.choose_ok_labels(data.labels, job.ok_labels), recipe)
    sampler = Sampler(data.pixels[places], targets, weights, len(data.labels), recipe, job.seed, good, defective)
    on_step = progress.begin("fitting", recipe.epochs * recipe.steps_per_epoch)
    return train(recipe, sampler, material.validation(recipe), seed=job.seed, threads=job.threads, report=on_step)


def _drawn_classes(labels: Sequence[str], ok_labels: Sequence[str], recipe: Recipe) -> tuple[int | None, int | None]:
    if not recipe.augment.draw_share:
        return None, None
    if len(labels) != 2:
        raise DataError(
            "draw_share of the recipe",
            expected="one good class and one defective class",
            got=f"{len(labels)} classes",
            remedy="Set it to 0",
        )
    good = labels.index(ok_labels[0])
    return good, 1 - good


def notes_of(job: Job, material: Material, fitted: Fitted) -> Notes:
    """What a card and ``convert`` need to know of a run."""
    data, split, labels = material.dataset, material.split, material.dataset.labels
    counts = {
        "pictures": len(data.files),
        "parts": len(np.unique(material.groups)),
        "unreadable": len(data.unreadable),
        **{f"{name}_pictures": len(getattr(split, name)) for name in ("train", "validation", "held_out")},
        **{
            f"{name}_parts": len(np.unique(material.groups[getattr(split, name)]))
            for name in ("train", "validation", "held_out")
        },
    }
    return Notes(
        name=job.name,
        version=job.version,
        labels=labels,
        ok_labels=dataset.choose_ok_labels(labels, job.ok_labels),
        fit=job.recipe.fit,
        temperature=fitted.temperature,
        licence_note=job.licence_note,
        command=job.command,
        data={**counts, "fingerprint": data.fingerprint, "seed": job.seed},
        made_with=versions(),
    )


def quantize_fitted(job: Job, material: Material, keras_file: Path) -> Quantized:
    """The int8 model, calibrated on training pictures only."""
    data = material.dataset
    chosen = choose_calibration(material.split.train, data.targets, material.groups, job.seed)
    return quantize(keras_file, data.pixels[chosen], job.recipe.fit)


def measure(job: Job, material: Material, bundle: Bundle, progress: Progress) -> Figures:
    """The figures of the int8 model on the held-out pictures, judged by the device's own code."""
    places = material.split.held_out
    files = material.files(places)
    judgements, _ = judge(bundle, files, progress.counter("judging", len(files)))
    labels, ok_labels, parts = bundle.card.labels, bundle.card.ok_labels, material.groups[places]
    metrics = figures(judgements, labels, ok_labels, material.dataset.unreadable)
    metrics["by_group"] = by_group(judgements, parts)
    metrics["held_out_near_copies_in_training"] = int(np.isin(parts, material.groups[material.split.train]).sum())
    names = [folder.name for folder in (*job.data, *job.distinct)]
    if len(names) > 1:
        metrics["by_source"] = [
            {"source": name, **without_lists(figures([j for j in judgements if j.source == source], labels, ok_labels))}
            for source, name in enumerate(names)
        ]
    return metrics


def without_lists(metrics: Figures) -> Figures:
    """The figures without the single pictures: a card names no files."""
    lists = ("errors", "not_inspected", "unreadable")
    short = {key: value for key, value in metrics.items() if key not in lists}
    if "by_group" in short:
        short["by_group"] = {key: value for key, value in short["by_group"].items() if key != "wrong"}
    return short


@contextmanager
def whole_or_absent(out: Path) -> Iterator[Path]:
    """A draft folder that takes the name ``out`` once all is written; a run that stood there is replaced.

    Raises:
        DataError: if ``out`` holds something that is not an earlier run.
    """
    if out.exists() and not (out / "metrics.json").is_file() and (not out.is_dir() or any(out.iterdir())):
        raise DataError(
            f"{out} is in use",
            expected="a new folder, an empty one, or an earlier run",
            got="something else",
            remedy="Give --out another folder",
        )
    draft = out.absolute().with_name(f".{out.name}.{os.getpid()}")
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(parents=True)
    try:
        yield draft
        if out.exists():
            shutil.rmtree(out)
        draft.rename(out)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
