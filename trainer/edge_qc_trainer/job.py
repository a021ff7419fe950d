"""A job of ``fit`` and its stages: gather the pictures, fit the network, make the bundle, measure it."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from edge_qc.bundle import Bundle, Thresholds
from edge_qc.domain import FloatArray
from edge_qc_trainer import dataset
from edge_qc_trainer.batches import Sampler, sampling_weights
from edge_qc_trainer.calibrate import Calibration, shift_logits
from edge_qc_trainer.card import Notes, bundle_of, versions, write_notes
from edge_qc_trainer.checkpoint import Checkpoints
from edge_qc_trainer.config import Recipe
from edge_qc_trainer.convert import Quantized, choose_calibration, quantize
from edge_qc_trainer.dataset import Dataset, Flags, IntArray, LabelledFile
from edge_qc_trainer.errors import DataError
from edge_qc_trainer.fit import Fitted, Validation, import_keras, logits_of, train
from edge_qc_trainer.groups import group_near_copies
from edge_qc_trainer.metrics import Figures
from edge_qc_trainer.network import softness_of
from edge_qc_trainer.split import Split, split_by_group
from edge_qc_trainer.statistics import statistics_of
from edge_qc_trainer.threshold import Policy


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
        folds: where not 0, the figures and the calibration come from a cross-validation of so many folds, and the
            model is trained on all parts.
        threads: threads that make batches.
        licence_note: a sentence on the data and its licence, for the card.
        command: as it was typed, for the card.
        policy: what the decision thresholds are chosen for.
        robustness: whether held-out pictures are judged under other light and optics too.
        audit: the JSON of an audit of the pictures, for the report.
        beside: the ``metrics.json`` of runs with other seeds, for the report.
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
    folds: int = 0
    licence_note: str = "Its licence is that of its data."
    threads: int = 1
    command: str = ""
    policy: Policy = field(default_factory=Policy)
    robustness: bool = True
    audit: Path | None = None
    beside: tuple[Path, ...] = ()

    @property
    def sets(self) -> tuple[Path, ...]:
        """Every folder of pictures; a picture's ``source`` is the place of its set among them."""
        return (*self.data, *self.distinct, *([self.test] if self.test else []))

    def is_distinct(self, sources: IntArray) -> Flags:
        """Which of some pictures come with a set whose every picture shows another part."""
        return (sources >= len(self.data)) & (sources < len(self.data) + len(self.distinct))


@dataclass(frozen=True, slots=True, eq=False)
class Material:
    """The pictures of a job, what part each shows, and what each is for."""

    dataset: Dataset
    groups: IntArray
    split: Split

    def with_split(self, split: Split) -> "Material":
        """The same pictures, split in another way."""
        return replace(self, split=split)

    def validation(self, recipe: Recipe) -> Validation | None:
        """The validation pictures, every part counted alike, and the classes and sources as in training."""
        if not len(self.split.validation):
            return None
        data, places, by_part = self.dataset, self.split.validation, recipe.model_copy(update={"copies_power": -1.0})
        weights = sampling_weights(data.targets[places], self.groups[places], data.sources[places], by_part)
        return Validation(data.seen(places), data.targets[places], weights)

    def logits(self, fitted: Fitted, places: IntArray) -> FloatArray:
        """The logits, (places, classes), that a network has of some pictures."""
        return logits_of(fitted.model, self.dataset.seen(places), self.dataset.normalisation)

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


def gather(job: Job, progress: Progress) -> Material:
    """Reads the pictures, finds out which show the same part, and splits them by part.

    Raises:
        DataError: if the data cannot be trained on.
    """
    train_files, test_files = _find(job)
    files = [*train_files, *test_files]
    dataset.choose_ok_labels(sorted({file.label for file in files}), job.ok_labels)
    reading = progress.counter("reading", len(files))
    data = dataset.load(files, job.recipe.size, job.recipe.fit, reading, job.recipe.region, job.recipe.align)
    data = dataset.with_openings(data, job.recipe.unwrap, job.threads)
    if data.openings:
        progress.say("the parts are round: the network sees their rings, unwrapped around the opening in the middle")
    for skipped in data.unreadable:
        progress.say(f"skipped {skipped.path}: {skipped.reason}")
    parts = _group(job, data, progress)
    given = set(test_files)
    fixed_test = np.array([place for place, file in enumerate(data.files) if file in given], np.int64)
    if test_files and not len(fixed_test):
        raise DataError(
            "no test picture can be judged",
            expected="pictures that can be read, with the part in them",
            got=f"{len(test_files)}, all of them passed over",
            remedy="Look at the reasons above, or let the trainer hold parts out",
        )
    if job.folds:
        everything = np.arange(len(data.files))
        return Material(data, parts, Split(everything, everything[:0], everything[:0]))
    split = split_by_group(
        data.targets,
        parts,
        fixed_test,
        held_out=job.recipe.held_out_share,
        validation=job.recipe.validation_share,
        seed=job.seed,
    )
    progress.say(
        f"{len(data.files)} pictures of {len(np.unique(parts))} parts: {len(split.train)} to train on, "
        f"{len(split.validation)} for validation, {len(split.held_out)} held out"
    )
    return Material(data, parts, split)


def _find(job: Job) -> tuple[list[LabelledFile], list[LabelledFile]]:
    train_files: list[LabelledFile] = []
    test_files = dataset.find_files(job.test, len(job.sets) - 1) if job.test else []
    for source, folder in enumerate((*job.data, *job.distinct)):
        train, test = dataset.train_and_test(folder)
        train_files += dataset.find_files(train, source)
        test_files += dataset.find_files(test, source) if test else []
    if test_files and job.folds:
        raise DataError(
            "--folds and a test set exclude each other",
            expected="--folds, which judges every part once, or pictures to measure on",
            got=f"--folds {job.folds}, and {len(test_files)} pictures under test/",
            remedy="Give DATA's train/ folder, or leave out --folds",
        )
    if test_files:
        dataset.check_same_labels((f.label for f in train_files), (f.label for f in test_files))
    return train_files, test_files


def _group(job: Job, data: Dataset, progress: Progress) -> IntArray:
    looked_at = np.flatnonzero(~job.is_distinct(data.sources) & job.group)
    if len(looked_at):
        progress.say(f"looking for near copies among {len(looked_at)} pictures")
    return group_near_copies(data.pixels, data.hashes, job.recipe.group_threshold, looked_at)


def fit_network(
    job: Job, material: Material, progress: Progress, checkpoints: Checkpoints | None = None, name: str = "model"
) -> Fitted:
    """Fits the network to the training pictures, or goes on where a fit of the same was stopped.

    Args:
        job: what ``fit`` was asked for.
        material: the pictures.
        progress: where to tell how far it is.
        checkpoints: where what is done is kept; None for nowhere.
        name: of the network among those of the run.
    """
    recipe, sampler, validation = job.recipe, sampler_of(job, material), material.validation(job.recipe)
    checkpoint = None
    if checkpoints:
        keras, split = import_keras(), material.split
        made_with = (keras.__version__, keras.backend.backend())
        what = (recipe.model_dump_json(), job.seed, material.dataset.fingerprint, split.train)
        checkpoint = checkpoints.of(
            name, *made_with, *what, sampler.targets, sampler.weights, sampler.good, split.validation
        )
    on_step = progress.begin("fitting", recipe.epochs * recipe.steps_per_epoch)
    return train(recipe, sampler, validation, seed=job.seed, threads=job.threads, report=on_step, checkpoint=checkpoint)


def seconds_of(fitted: Fitted) -> float:
    """What the epochs of a fit took, those before a stop among them."""
    return sum(epoch.seconds for epoch in fitted.epochs)


def sampler_of(job: Job, material: Material) -> Sampler:
    """What makes the batches of the training pictures.

    Args:
        job: what ``fit`` was asked for.
        material: the pictures.
    """
    data, places = material.dataset, material.split.train
    targets = data.targets[places]
    weights = sampling_weights(targets, material.groups[places], data.sources[places], job.recipe)
    openings = tuple(data.openings[place] for place in places) if data.openings else ()
    return Sampler(data.pixels[places], targets, weights, data.good(job.ok_labels), job.recipe, job.seed, openings)


@dataclass(frozen=True, slots=True, eq=False)
class Made:
    """A quantized network and what it says of itself."""

    quantized: Quantized
    notes: Notes
    keras_file: Path

    def bundle(self, metrics: Figures) -> Bundle:
        """The bundle, in memory."""
        return bundle_of(self.quantized, self.notes, metrics, self.keras_file.parent / "bundle")

    def with_thresholds(self, thresholds: Thresholds) -> "Made":
        """The same with other decision thresholds, which the notes beside the network then have too."""
        notes = self.notes.model_copy(update={"thresholds": thresholds})
        write_notes(self.keras_file, notes)
        return replace(self, notes=notes)


def make_bundle(job: Job, material: Material, fitted: Fitted, calibration: Calibration, keras_file: Path) -> Made:
    """Saves a fitted network with its calibration, and quantizes it, calibrated on training pictures only."""
    data, notes = material.dataset, notes_of(job, material, calibration)
    shift_logits(fitted.model, ~data.good(job.ok_labels), calibration.shift * calibration.temperature)
    fitted.model.save(keras_file)
    write_notes(keras_file, notes)
    chosen = choose_calibration(material.split.train, data.targets, material.groups, job.seed)
    quantized = quantize(keras_file, data.seen(chosen), job.recipe.fit, data.normalisation, softness_of(fitted.model))
    return Made(quantized, notes, keras_file)


def notes_of(job: Job, material: Material, calibration: Calibration) -> Notes:
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
        region=job.recipe.region,
        align=job.recipe.align,
        unwrap="ring" if data.openings else "none",
        normalisation=data.normalisation,
        statistics=statistics_of(
            data.pixels, data.targets, material.groups, split.train, seed=job.seed, threads=job.threads
        ),
        temperature=calibration.temperature,
        licence_note=job.licence_note,
        command=job.command,
        data={**counts, "fingerprint": data.fingerprint, "seed": job.seed, "shift": calibration.shift},
        made_with=versions(),
    )
