"""What the training pictures, varied as a line may vary them, look like to the device's gate: by its own code."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import numpy as np

from edge_qc.bundle import READABLE_CARD_FILE, Bundle, Statistics, load_bundle, write_bundle
from edge_qc.domain import Frame, Pixels
from edge_qc.features import Features, Vector, measure
from edge_qc.quality import Likeness, QualityFault, QualityGate, unit_profile
from edge_qc.sections import Quality
from edge_qc_trainer import dataset
from edge_qc_trainer.augment import augment
from edge_qc_trainer.config import Augment
from edge_qc_trainer.dataset import IntArray
from edge_qc_trainer.groups import group_identical
from edge_qc_trainer.split import spread_over_parts

PICTURES = 2000  # at most, each taken as it is and varied: some 10 s

# What a line may vary without a word from the gate: lamp, lens, place, turn, sensor. Wider than what training varies.
VARIATION = Augment(
    plain_share=0.2,
    zoom_min=0.88,
    zoom_max=1.12,
    stretch=0.03,
    shift=0.06,
    light_share=0.6,
    gamma=0.5,
    gain=0.35,
    offset=40,
    lamp_share=0.4,
    lamp=0.5,
    blur_share=0.3,
    blur_px=1.2,
    noise_share=0.3,
    noise=9,
    jpeg_share=0.3,
)

# The bounds lie this far beyond the pictures' own: a part of the line that no picture shows must still be judged.
_REST = 0.001  # share of the pictures at each end that sets no bound
_DISTANCE = 2.0
_SHARPNESS = 0.8
_OFFSET = 1.3
_MATCH = 0.25

_COPIES_POWER = -0.5  # a picture counts (copies of its part) ** this: ten parts in hundreds of copies are not the line
_RIDGE = 0.02  # of each feature's variance: what no training picture varies, a picture of the line may still


def refusal(pixels: Pixels) -> QualityFault | None:
    """What the device's gate refuses a picture for, whatever the part in it: its light, or that it shows nothing.

    Args:
        pixels: shape (height, width), uint8.
    """
    return QualityGate(Quality())(Frame(pixels, 1, 0, datetime.now(UTC), source="trainer"))


def statistics_of(
    pixels: Pixels, targets: IntArray, groups: IntArray, places: IntArray, *, seed: int = 0, threads: int = 1
) -> Statistics:
    """The statistics of some pictures.

    Args:
        pixels: shape (pictures, height, width), uint8, fitted as the device fits them.
        targets: shape (pictures,): class of each.
        groups: shape (pictures,): the part that each shows.
        places: of the pictures to take.
        seed: of the choice and the variation.
        threads: threads that measure.
    """
    chosen = spread_over_parts(places, targets, groups, seed, PICTURES)
    with ThreadPoolExecutor(threads) as pool:
        plain = list(pool.map(measure, (pixels[place] for place in chosen)))
        varied = list(pool.map(partial(_measure_varied, seed=seed), chosen, (pixels[place] for place in chosen)))
    _, part, copies = np.unique(groups[chosen], return_inverse=True, return_counts=True)
    weights = copies[part].astype(np.float64) ** _COPIES_POWER
    return _describe([*plain, *varied], np.concatenate([weights, weights]), len(chosen))


def _measure_varied(place: int, pixels: Pixels, *, seed: int) -> Features:
    return measure(augment(pixels, np.random.default_rng([seed, int(place)]), VARIATION))


def _describe(features: Sequence[Features], weights: Vector, pictures: int) -> Statistics:
    vectors = np.stack([one.vector for one in features])
    centre = np.average(vectors, axis=0, weights=weights)
    scale = np.sqrt(np.average((vectors - centre) ** 2, axis=0, weights=weights)) + 1e-3
    standard = (vectors - centre) / scale
    covariance = (standard * weights[:, None]).T @ standard / weights.sum() + _RIDGE * np.eye(len(centre))
    whitening = np.linalg.cholesky(np.linalg.inv(covariance)).T / scale
    profile = unit_profile(np.average([one.profile for one in features], axis=0, weights=weights))
    matches = np.array([unit_profile(one.profile) @ profile for one in features])
    draft = Statistics(
        pictures=pictures,
        centre=_rounded(centre),
        whitening=_rounded(whitening[np.triu_indices(len(centre))]),
        profile=_rounded(profile),
        blurred_below=_SHARPNESS * _quantile([one.sharpness for one in features], _REST),
        misaligned_above=_OFFSET * _quantile([one.offset for one in features], 1 - _REST),
        missing_below=_quantile(matches, _REST) - _MATCH,
        unlike_above=1,
    )
    likeness = Likeness(draft, Quality())
    farthest = _quantile([likeness.distance(one) for one in features], 1 - _REST)
    return draft.model_copy(update={"unlike_above": round(_DISTANCE * farthest, 1)})


def _quantile(values: Sequence[float] | Vector, share: float) -> float:
    return round(float(np.quantile(np.asarray(values), share)), 5)


def _rounded(values: Vector) -> tuple[float, ...]:
    return tuple(float(f"{value:.5g}") for value in values)


def remake(
    path: Path, data: Sequence[Path], advance: Callable[[str, int], Callable[[], object]], threads: int = 1
) -> Bundle:
    """Puts the statistics of training pictures into a bundle that was made without, or with others.

    Args:
        path: the bundle's folder, which is written anew.
        data: the folders that its model was trained on.
        advance: is told what is begun and its total; gives what is called after each picture.
        threads: threads that measure.

    Raises:
        BundleError: if the bundle's sums do not hold.
        DataError: if the data has no pictures.
    """
    bundle = load_bundle(path)
    card = bundle.card
    folders = [dataset.train_and_test(folder)[0] for folder in data]
    files = [file for source, folder in enumerate(folders) for file in dataset.find_files(folder, source)]
    shape = card.input
    reading = advance("reading", len(files))
    loaded = dataset.load(files, shape.height, shape.fit, reading, shape.region, shape.align)
    groups, places = group_identical(loaded.hashes), np.arange(len(loaded.files))
    statistics = statistics_of(loaded.pixels, loaded.targets, groups, places, threads=threads)
    readable = (path / READABLE_CARD_FILE).read_text("utf-8")
    write_bundle(path, card.model_copy(update={"statistics": statistics}), bundle.model, readable)
    return load_bundle(path)
