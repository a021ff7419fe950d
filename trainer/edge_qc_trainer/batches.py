"""Batches of varied pictures, made ahead in threads; the same seed gives the same batches for any number of threads."""

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import islice

import cv2
import numpy as np
import numpy.typing as npt

from edge_qc.domain import FloatArray, Pixels
from edge_qc.preprocess import Normalisation, standardise
from edge_qc.unwrap import Opening, unwrap
from edge_qc_trainer.augment import move, relight
from edge_qc_trainer.config import Recipe
from edge_qc_trainer.dataset import Flags, IntArray, normalisation_of
from edge_qc_trainer.defects import draw_defects, on_a_part, on_a_ring
from edge_qc_trainer.errors import DataError
from edge_qc_trainer.glints import draw_glints

Batch = tuple[FloatArray, FloatArray, FloatArray]
FloatWeights = npt.NDArray[np.float64]

# How far an opening is moved off where it was found (standard deviation, share of the side), and how far stretched.
_SLIP, _STRETCH = 1 / 300, 0.03
_COVERED = 8  # of 255: a place of the maps that a drawn defect covers so far holds it


def sampling_weights(targets: IntArray, groups: IntArray, sources: IntArray, recipe: Recipe) -> FloatWeights:
    """How likely each picture is to be drawn: classes alike, many copies of a part held down, sources as asked.

    Args:
        targets: shape (pictures,), int64: class of each.
        groups: shape (pictures,), int64: group of each.
        sources: shape (pictures,), int64: which DATA each came with.
        recipe: ``copies_power`` and ``source_shares``.

    Returns:
        Shape (pictures,), float64, sum 1.

    Raises:
        DataError: if ``source_shares`` are not one for each DATA.
    """
    shares = recipe.source_shares
    if shares and len(shares) <= sources.max():
        raise DataError(
            "source_shares of the recipe",
            expected=f"{sources.max() + 1} of them, one for each DATA",
            got=f"{len(shares)}",
        )
    _, place, copies = np.unique(groups, return_inverse=True, return_counts=True)
    weights = copies[place].astype(np.float64) ** recipe.copies_power
    for target in np.unique(targets):
        of_class = targets == target
        for source in np.unique(sources[of_class]) if shares else ():
            here = of_class & (sources == source)
            weights[here] *= shares[source] / weights[here].sum()
        weights[of_class] /= weights[of_class].sum()
    return np.asarray(weights / weights.sum(), np.float64)


@dataclass(frozen=True, slots=True, eq=False)
class Sampler:
    """Makes the batches of a training run.

    Attributes:
        pixels: shape (pictures, size, size), uint8: the training pictures.
        targets: shape (pictures,), int64: their classes.
        weights: shape (pictures,), float64, sum 1: how likely each is.
        good: shape (classes,), bool: which classes are good.
        recipe: batch size and augmentation.
        seed: of the run.
        openings: of the pictures, where the network sees unwrapped rings; else none.
    """

    pixels: Pixels
    targets: IntArray
    weights: FloatWeights
    good: Flags
    recipe: Recipe
    seed: int
    openings: tuple[Opening, ...] = ()

    @property
    def classes(self) -> int:
        """How many classes there are."""
        return len(self.good)

    @property
    def normalisation(self) -> Normalisation:
        """How the network's input is made of what it sees."""
        return normalisation_of(self.openings)

    def batch(self, number: int) -> Batch:
        """Batch ``number`` of the run.

        Returns:
            Pictures (batch, size, size, 1) float32, standardised as on the device; classes (batch, classes) float32,
            one-hot; and the evidence (batch, rows, columns) float32, for each place of the network's maps: 1 where a
            defect was drawn, -1 where there is none for certain, and where nothing is known the share of such places
            that may be taken for free of defects, those that speak least for one.
        """
        rng = np.random.default_rng([self.seed, number])
        chosen = rng.choice(len(self.targets), self.recipe.batch, p=self.weights)
        free = self.recipe.free_share(number)
        shown = [self._vary(int(place), free, rng) for place in chosen]
        pictures = np.stack([standardise(pixels, self.normalisation) for pixels, _, _ in shown])[..., None]
        one_hot = np.eye(self.classes, dtype=np.float32)[[target for _, target, _ in shown]]
        return pictures, one_hot, np.stack([evidence for _, _, evidence in shown])

    def _vary(self, place: int, free: float, rng: np.random.Generator) -> tuple[Pixels, int, FloatArray]:
        pixels, target, how = self._moved(place, rng), int(self.targets[place]), self.recipe.augment
        if self.openings and rng.random() < how.glint_share:
            pixels = draw_glints(pixels, rng)
        is_good = bool(self.good[target])
        side = self.recipe.map_side
        evidence = np.full((side, side), -1 if is_good else free, np.float32)
        # With one defective class, and only then, it is plain which class a drawn defect makes of a good part.
        if self.classes == 2 and rng.random() < (how.draw_share if is_good else how.draw_share / 2):
            where_to = on_a_ring(pixels) if self.openings else on_a_part(self.recipe.size)
            pixels, where = draw_defects(pixels, rng, where_to)
            if where.any():
                target = int(np.flatnonzero(~self.good)[0])
                _note(evidence, where)
        return relight(pixels, rng, how), target, evidence

    def _moved(self, place: int, rng: np.random.Generator) -> Pixels:
        if not self.openings:
            return move(self.pixels[place], rng, self.recipe.augment)
        seen = self.openings[place]
        slip = _SLIP * self.recipe.size * rng.standard_normal(2)
        width, height = rng.uniform(1 - _STRETCH, 1 + _STRETCH, 2)
        moved = replace(
            seen, x=seen.x + slip[0], y=seen.y + slip[1], width=seen.width * width, height=seen.height * height
        )
        pixels = self.pixels[place]
        if rng.random() < self.recipe.augment.cut_share:
            down, across = (
                round(float(move)) for move in rng.uniform(-1, 1, 2) * self.recipe.augment.shift * self.recipe.size
            )
            pixels = _shifted(pixels, down, across)
            moved = replace(moved, x=moved.x + across, y=moved.y + down)
        turn, mirrored, smooth = rng.uniform(0, 2 * np.pi), rng.random() < 0.5, rng.random() < 0.3
        return unwrap(pixels, moved, turn=turn, mirrored=mirrored, smooth=smooth)


def _shifted(pixels: Pixels, down: int, across: int) -> Pixels:
    """The picture moved by so many pixels: a part of it leaves, and its border is repeated where nothing is known."""
    rows, columns = pixels.shape
    seen = pixels[max(-down, 0) : rows - max(down, 0), max(-across, 0) : columns - max(across, 0)]
    borders = max(down, 0), max(-down, 0), max(across, 0), max(-across, 0)
    return np.asarray(cv2.copyMakeBorder(seen, *borders, cv2.BORDER_REPLICATE), np.uint8)


def _note(evidence: FloatArray, where: Pixels) -> None:
    """Notes in the evidence where a defect was drawn; the places beside it see a part of it: nothing is known there."""
    cover = cv2.resize(where, evidence.shape[::-1], interpolation=cv2.INTER_AREA)
    near = cv2.dilate(cover, np.ones((3, 3), np.uint8)) > 0
    evidence[near] = 0
    evidence[cover >= _COVERED] = 1


def made_ahead(make: Callable[[int], Batch], first: int, last: int, threads: int) -> Iterator[Batch]:
    """``make(first)`` … ``make(last - 1)`` in order, a few of them made ahead in other threads."""
    numbers = iter(range(first, last))
    with ThreadPoolExecutor(threads) as pool:
        ahead = deque(pool.submit(make, number) for number in islice(numbers, 3 * threads))
        while ahead:
            batch = ahead.popleft().result()
            ahead.extend(pool.submit(make, number) for number in islice(numbers, 1))
            yield batch
