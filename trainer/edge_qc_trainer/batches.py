"""Batches of varied pictures, made ahead in threads; the same seed gives the same batches for any number of threads."""

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice

import numpy as np
import numpy.typing as npt

from edge_qc.domain import FloatArray, Pixels
from edge_qc.preprocess import standardise
from edge_qc_trainer.augment import augment, draw_defects
from edge_qc_trainer.config import Recipe
from edge_qc_trainer.dataset import IntArray
from edge_qc_trainer.errors import DataError

Batch = tuple[FloatArray, FloatArray]
FloatWeights = npt.NDArray[np.float64]


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
        classes: how many classes there are.
        recipe: batch size and augmentation.
        seed: of the run.
        good: the good class, where drawn defects turn it into ``defective``; else None.
        defective: the defective class.
    """

    pixels: Pixels
    targets: IntArray
    weights: FloatWeights
    classes: int
    recipe: Recipe
    seed: int
    good: int | None = None
    defective: int | None = None

    def batch(self, number: int) -> Batch:
        """Batch ``number`` of the run.

        Returns:
            Pictures (batch, size, size, 1) float32, standardised as on the device, and classes (batch, classes)
            float32, one-hot.
        """
        rng = np.random.default_rng([self.seed, number])
        chosen = rng.choice(len(self.targets), self.recipe.batch, p=self.weights)
        pairs = [self._vary(int(place), rng) for place in chosen]
        pictures = np.stack([standardise(pixels) for pixels, _ in pairs])[..., None]
        return pictures, np.eye(self.classes, dtype=np.float32)[[target for _, target in pairs]]

    def _vary(self, place: int, rng: np.random.Generator) -> tuple[Pixels, int]:
        pixels, target = self.pixels[place], int(self.targets[place])
        if target == self.good and self.defective is not None and rng.random() < self.recipe.augment.draw_share:
            pixels, target = draw_defects(pixels, rng), self.defective
        return augment(pixels, rng, self.recipe.augment), target


def made_ahead(make: Callable[[int], Batch], first: int, last: int, threads: int) -> Iterator[Batch]:
    """``make(first)`` … ``make(last - 1)`` in order, a few of them made ahead in other threads."""
    numbers = iter(range(first, last))
    with ThreadPoolExecutor(threads) as pool:
        ahead = deque(pool.submit(make, number) for number in islice(numbers, 3 * threads))
        while ahead:
            batch = ahead.popleft().result()
            ahead.extend(pool.submit(make, number) for number in islice(numbers, 1))
            yield batch
