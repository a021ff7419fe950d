"""What was measured on parts that the judging model never saw, and the figures that come of it."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from edge_qc.bundle import Bundle, Thresholds
from edge_qc.domain import FloatArray, Pixels
from edge_qc.errors import PictureError
from edge_qc.picture import read_picture
from edge_qc.preprocess import Fitting, resize
from edge_qc_trainer.calibrate import Calibration, probabilities_of
from edge_qc_trainer.card import made_of
from edge_qc_trainer.config import Recipe
from edge_qc_trainer.dataset import IntArray, LabelledFile, Unreadable, choose_ok_labels, file_hash, fingerprint_of
from edge_qc_trainer.evaluate import Judgement, gone, judge
from edge_qc_trainer.groups import group_near_copies
from edge_qc_trainer.job import Job, Material, Progress
from edge_qc_trainer.metrics import Figures, by_group, figures, is_right
from edge_qc_trainer.robustness import judge_varied, table
from edge_qc_trainer.sets import sets_of
from edge_qc_trainer.split import spread_over_parts
from edge_qc_trainer.threshold import Chosen, choose

VARIED_PICTURES = 1000  # by `fit`: sixteen inferences each, a minute; `evaluate --robustness` takes all


@dataclass(frozen=True, slots=True, eq=False)
class Measured:
    """Verdicts on pictures that the judging model never saw.

    Attributes:
        places: the picture of each judgement.
        judgements: by the int8 model and the device's own code.
        in_float: of the same pictures by the network before quantization, under the same calibration and thresholds.
        varied_places: the pictures that were varied as well.
        varied: their judgements under each condition, by its name.
    """

    places: IntArray
    judgements: list[Judgement]
    in_float: list[Judgement]
    varied_places: IntArray = field(default_factory=lambda: np.array([], np.int64))
    varied: dict[str, list[Judgement]] = field(default_factory=dict)

    def decided_anew(self, labels: Sequence[str], ok_labels: Sequence[str], thresholds: Thresholds) -> "Measured":
        """The same scores under other thresholds."""

        def anew(judgements: Iterable[Judgement]) -> list[Judgement]:
            return [judgement.decided_anew(labels, ok_labels, thresholds) for judgement in judgements]

        varied = {name: anew(found) for name, found in self.varied.items()}
        return replace(self, judgements=anew(self.judgements), in_float=anew(self.in_float), varied=varied)


def pooled(several: Sequence[Measured]) -> Measured:
    """Those of several folds as one."""
    return Measured(
        np.concatenate([one.places for one in several]),
        [judgement for one in several for judgement in one.judgements],
        [judgement for one in several for judgement in one.in_float],
        np.concatenate([one.varied_places for one in several]),
        {name: [judgement for one in several for judgement in one.varied[name]] for name in several[0].varied},
    )


def choose_on_validation(job: Job, material: Material, bundle: Bundle, progress: Progress) -> Chosen:
    """Thresholds for what the job asks, by the int8 model's verdicts on the validation pictures."""
    places = material.split.validation
    files = material.files(places)
    judgements = _judged(bundle, files, progress.counter("choosing thresholds", len(files)))
    return choose(judgements, material.groups[places], bundle.card.ok_labels, job.policy)


def _judged(bundle: Bundle, files: Sequence[LabelledFile], advance: Callable[[], object]) -> list[Judgement]:
    """The judgement of every file, all of which could be read when the run began."""
    judgements, unreadable = judge(bundle, files, advance)
    if unreadable:
        raise gone(unreadable[0].path, unreadable[0].reason)
    return judgements


def choose_out_of_fold(job: Job, material: Material, folds: Sequence[Measured]) -> tuple[list[Measured], Chosen]:
    """Every fold under the thresholds that the other folds choose, and the thresholds that all of them choose.

    A fold that had a say in its own thresholds would flatter the figures.
    """
    labels = material.dataset.labels
    ok_labels = choose_ok_labels(labels, job.ok_labels)

    def chosen_by(measured: Measured) -> Chosen:
        return choose(measured.judgements, material.groups[measured.places], ok_labels, job.policy)

    decided = [
        fold.decided_anew(labels, ok_labels, chosen_by(pooled([f for f in folds if f is not fold])).thresholds)
        for fold in folds
    ]
    return decided, chosen_by(pooled(folds))


def measure(
    job: Job, material: Material, bundle: Bundle, logits: FloatArray, calibration: Calibration, progress: Progress
) -> Measured:
    """Judges the held-out pictures with the int8 model, with the network before it, and under other light and optics.

    Args:
        job: what ``fit`` was asked for.
        material: the pictures and what was held out.
        bundle: the int8 model.
        logits: shape (held out, classes): the network's before quantization.
        calibration: that the logits still need to become the bundle's probabilities.
        progress: where to tell how far it is.
    """
    data, places = material.dataset, material.split.held_out
    files, card = material.files(places), bundle.card
    judgements = _judged(bundle, files, progress.counter("judging", len(files)))
    good = np.array([label in card.ok_labels for label in card.labels])
    probabilities = probabilities_of(logits, good, calibration)
    in_float = [
        judgement.decided_anew(card.labels, card.ok_labels, card.thresholds, row)
        for judgement, row in zip(judgements, probabilities.tolist(), strict=True)
    ]
    measured = Measured(places, judgements, in_float)
    if not job.robustness:
        return measured
    most = VARIED_PICTURES // (job.folds or 1)
    chosen = spread_over_parts(places, data.targets, material.groups, job.seed, most)
    varied_files = material.files(chosen)
    advance = progress.counter("varying light and optics", len(varied_files))
    return replace(measured, varied_places=chosen, varied=judge_varied(bundle, varied_files, job.seed, advance))


def figures_of(job: Job, material: Material, measured: Measured) -> Figures:
    """The figures by picture, by part and by DATA, before and after quantization, and under each condition."""
    data, parts = material.dataset, material.groups[measured.places]
    labels, ok_labels = data.labels, choose_ok_labels(data.labels, job.ok_labels)
    metrics = figures(measured.judgements, labels, ok_labels, data.unreadable)
    rate = job.policy.defect_rate
    metrics["by_group"] = by_group(measured.judgements, parts, ok_labels, defect_rate=rate, seed=job.seed)
    known = 0 if job.folds else int(np.isin(parts, material.groups[material.split.known]).sum())
    metrics["held_out_near_copies_in_training"] = known
    metrics["data"] = sets_of(job, material, measured.places)
    judged = sorted({judgement.source for judgement in measured.judgements})
    if len(judged) > 1:
        metrics["by_source"] = [
            {
                "source": job.sets[source].absolute().name,
                **without_lists(figures([j for j in measured.judgements if j.source == source], labels, ok_labels)),
            }
            for source in judged
        ]
    metrics["quantization"] = flips(measured.judgements, measured.in_float, labels, ok_labels)
    if measured.varied:
        metrics["robustness"] = table(measured.varied, material.groups[measured.varied_places], labels, ok_labels)
    return metrics


def flips(
    judgements: Sequence[Judgement], in_float: Sequence[Judgement], labels: Sequence[str], ok_labels: Sequence[str]
) -> Figures:
    """What quantization changed: every picture whose verdict or class differs, with both scores.

    Args:
        judgements: by the int8 model.
        in_float: of the same pictures, by the network before it.
        labels: the classes.
        ok_labels: those that are good.
    """
    pairs = [pair for pair in zip(judgements, in_float, strict=True) if pair[0].probabilities]
    distances = [abs((now.score or 0.0) - (before.score or 0.0)) for now, before in pairs]
    before = figures([pair[1] for pair in pairs], labels, ok_labels)
    flipped = [
        {
            "path": str(now.path),
            "label": now.label,
            **{
                f"{name}_{key}": value
                for name, one in (("float", was), ("int8", now))
                for key, value in (("verdict", one.outcome.value), ("predicted", one.predicted), ("score", one.score))
            },
            "became": "neither" if is_right(was) == is_right(now) else "right" if is_right(now) else "wrong",
        }
        for now, was in pairs
        if (now.outcome, now.predicted) != (was.outcome, was.predicted)
    ]
    return {
        "n": len(pairs),
        "float": {key: before[key] for key in ("accuracy", "escape", "overkill", "auc")},
        "mean_score_distance": float(np.mean(distances)) if distances else 0.0,
        "largest_score_distance": max(distances, default=0.0),
        "flipped": len(flipped),
        **{f"became_{kind}": sum(flip["became"] == kind for flip in flipped) for kind in ("wrong", "right")},
        "flips": flipped,
    }


def judge_by_part(
    bundle: Bundle, files: Sequence[LabelledFile], progress: Progress, *, group: bool
) -> tuple[list[Judgement], IntArray, list[Unreadable]]:
    """The verdict on every file, the part that each shows, and the files that are no whole pictures.

    Args:
        bundle: a verified bundle.
        files: labelled pictures.
        progress: where to tell how far it is.
        group: whether near copies are looked for; else every picture counts as a part of its own.
    """
    judgements, unreadable = judge(bundle, files, progress.counter("judging", len(files)))
    if not group:
        return judgements, np.arange(len(judgements)), unreadable
    hashes = [file_hash(judgement.path) for judgement in judgements]
    return judgements, _parts_of(bundle, judgements, hashes, progress), unreadable


def _parts_of(bundle: Bundle, judgements: Sequence[Judgement], hashes: Sequence[str], progress: Progress) -> IntArray:
    """The part that each picture shows, near copies found."""
    everything = np.arange(len(judgements))
    if not judgements:
        return everything
    progress.say(f"looking for near copies among {len(judgements)} pictures")
    fitting = bundle.card.input.fitting()
    pixels = np.stack([_fitted(fitting, read_picture(judgement.path)) for judgement in judgements])
    return group_near_copies(pixels, hashes, Recipe().group_threshold, everything)


def _fitted(fitting: Fitting, pixels: Pixels) -> Pixels:
    """What the model sees of a picture; all of it where the device does not inspect it, for that may be a copy too."""
    try:
        return fitting.pixels(pixels)
    except PictureError:
        return resize(pixels, fitting.height, fitting.width, fitting.fit)


def figures_of_bundle(
    bundle: Bundle,
    files: Sequence[LabelledFile],
    progress: Progress,
    *,
    group: bool,
    robustness: bool,
    defect_rate: float,
    seed: int,
) -> Figures:
    """The figures of a bundle on labelled pictures; see ``judge_by_part``, ``figures_of`` and ``_made``.

    Args:
        bundle: a verified bundle.
        files: labelled pictures.
        progress: where to tell how far it is.
        group: whether near copies are looked for.
        robustness: whether every picture is judged under other light and optics too.
        defect_rate: share of defective parts that come in, 0 to 1.
        seed: of the bootstrap and the conditions.
    """
    labels, ok_labels = bundle.card.labels, bundle.card.ok_labels
    judgements, unreadable = judge(bundle, files, progress.counter("judging", len(files)))
    hashes = [file_hash(judgement.path) for judgement in judgements]
    groups = _parts_of(bundle, judgements, hashes, progress) if group else np.arange(len(judgements))
    metrics = figures(judgements, labels, ok_labels, unreadable)
    metrics["made"] = _made(bundle, fingerprint_of(hashes))
    metrics["thresholds"] = bundle.card.thresholds.model_dump()
    metrics["by_group"] = by_group(judgements, groups, ok_labels, defect_rate=defect_rate, seed=seed)
    if robustness and judgements:
        readable = [LabelledFile(judgement.path, judgement.label) for judgement in judgements]
        advance = progress.counter("varying light and optics", len(readable))
        metrics["robustness"] = table(judge_varied(bundle, readable, seed, advance), groups, labels, ok_labels)
    return metrics


def _made(bundle: Bundle, fingerprint: str) -> Figures:
    """What was measured with what, and whether it is ``known`` that the model was trained on these very pictures.

    ``trained_on`` of them it was trained on; None where the bundle does not know the set. A picture of a part that was
    trained on may stand in any set: that is for ``audit --against`` to find.
    """
    rows = [row for row in bundle.card.metrics.get("data", []) if row["fingerprint"] == fingerprint]
    trained_on = sum(row["trained"] + row["validation"] for row in rows) if rows else None
    if not rows and bundle.card.data.get("fingerprint") == fingerprint:
        trained_on = bundle.card.data.get("train_pictures")
    if trained_on:
        known = f"{trained_on:,} of these very pictures were trained on or chose the epoch: memory, not inspection."
    elif trained_on == 0:
        copies = bundle.card.metrics.get("held_out_near_copies_in_training", 0)
        known = "The bundle knows this set: none of its pictures was trained on" + (
            f", but {copies:,} of the pictures it was measured on show parts that were." if copies else "."
        )
    else:
        known = (
            "Whether parts of these pictures were trained on is not known here: compare them with the training "
            "pictures by edge-qc-train audit --against."
        )
    return {**made_of(bundle), "fingerprint": fingerprint, "trained_on": trained_on, "known": known}


def without_lists(metrics: Figures) -> Figures:
    """The figures without the single pictures and epochs: a card names no files, and is read on the device."""
    left_out = {"errors", "not_inspected", "unreadable"}
    short = {key: value for key, value in metrics.items() if key not in left_out}
    for section, keys in (("by_group", {"wrong"}), ("quantization", {"flips"}), ("made", {"recipe", "policy"})):
        if section in short:
            short[section] = {name: value for name, value in short[section].items() if name not in keys}
    if "folds" in short:
        short["folds"] = [{key: value for key, value in fold.items() if key != "history"} for fold in short["folds"]]
    return short
