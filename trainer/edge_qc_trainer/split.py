"""Training, validation and held-out pictures, so that no part stands in two of them."""

from dataclasses import dataclass

import numpy as np

from edge_qc_trainer.dataset import IntArray
from edge_qc_trainer.errors import DataError


@dataclass(frozen=True, slots=True, eq=False)
class Split:
    """Places of the pictures, int64 each.

    Attributes:
        train: the network is fitted to these.
        validation: these choose the epoch and the temperature.
        held_out: these measure it; empty where all pictures are trained on.
    """

    train: IntArray
    validation: IntArray
    held_out: IntArray

    @property
    def known(self) -> IntArray:
        """What the model knows: what it is fitted to, and what chooses the epoch and the temperature."""
        return np.concatenate([self.train, self.validation])


def take_groups(candidates: IntArray, targets: IntArray, groups: IntArray, share: float, seed: int) -> IntArray:
    """About a share of the candidates, with every class in it and left over, and no group torn.

    Args:
        candidates: places of the pictures to choose from.
        targets: class of every picture.
        groups: group of every picture.
        share: of the pictures wanted, 0 to 0.5.
        seed: of the shuffle.

    Raises:
        DataError: if a class has too few parts for that.
    """
    from sklearn.model_selection import StratifiedGroupKFold

    y, g = targets[candidates], groups[candidates]
    parts = {int(c): len(np.unique(g[y == c])) for c in np.unique(y)}
    if min(parts.values(), default=0) < 2:
        raise _too_few(parts)
    # More folds than parts of a class would leave folds without it.
    folds = max(2, min(round(1 / share), *parts.values()))
    splitter = StratifiedGroupKFold(folds, shuffle=True, random_state=seed)
    found = [fold for _, fold in splitter.split(y, y, g)]
    fewest = [_fewest_parts(fold, y, g) for fold in found]
    if max(fewest) == 0:
        raise _too_few(parts)
    # The splitter's own shuffle only breaks ties: without this choice every seed would hold out the same parts.
    equally_good = [fold for fold, count in zip(found, fewest, strict=True) if count == max(fewest)]
    chosen = equally_good[np.random.default_rng(seed).integers(len(equally_good))]
    return np.asarray(candidates[chosen], np.int64)


def _fewest_parts(fold: IntArray, targets: IntArray, groups: IntArray) -> int:
    """Parts of the class that has fewest of them, in the fold or outside: a figure must not rest on one part."""
    inside = np.isin(np.arange(len(targets)), fold)
    return min(len(np.unique(groups[side & (targets == c)])) for c in np.unique(targets) for side in (inside, ~inside))


def _too_few(parts: dict[int, int]) -> DataError:
    return DataError(
        "too few different parts to hold some out",
        expected="at least 3 parts of each class, near copies counted once",
        got=f"{min(parts.values(), default=0)} of the class that has fewest",
        remedy="Photograph more parts, or give --no-groups if the pictures are of different parts",
    )


def spread_over_parts(candidates: IntArray, targets: IntArray, groups: IntArray, seed: int, most: int) -> IntArray:
    """At most so many of the candidates: the classes alike, and in each every part before a second copy of one.

    Args:
        candidates: places of the pictures to choose from.
        targets: class of every picture.
        groups: group of every picture.
        seed: of the choice.
        most: how many, all classes together.

    Returns:
        Their places, rising.
    """
    rng = np.random.default_rng(seed)
    classes = np.unique(targets[candidates])
    chosen: list[int] = []
    for target in classes:
        of_class = rng.permutation(candidates[targets[candidates] == target])
        rank = np.zeros(len(of_class), np.int64)
        seen: dict[int, int] = {}
        for place, picture in enumerate(of_class):
            rank[place] = seen[int(groups[picture])] = seen.get(int(groups[picture]), -1) + 1
        chosen += of_class[np.argsort(rank, kind="stable")][: most // len(classes)].tolist()
    return np.array(sorted(chosen), np.int64)


def split_by_group(
    targets: IntArray, groups: IntArray, fixed_test: IntArray, *, held_out: float, validation: float, seed: int
) -> Split:
    """Splits pictures by group, with the classes in proportion.

    Args:
        targets: shape (pictures,), int64: class of each.
        groups: shape (pictures,), int64: group of each.
        fixed_test: places of the pictures that were given to measure on; they are held out as they are. Where there
            are parts enough, other pictures of theirs are not for validation.
        held_out: share to hold out where none were given, 0 to 0.5; 0 holds out none.
        validation: share for validation, 0 to 0.5, of all that is not given to measure on.
        seed: of the shuffles.

    Raises:
        DataError: if a class has too few parts.
    """
    rest = np.setdiff1d(np.arange(len(targets)), fixed_test)
    test = fixed_test
    if not len(test) and held_out:
        test = take_groups(rest, targets, groups, held_out, seed)
        rest = np.setdiff1d(rest, test)
        validation = min(0.5, validation / (1 - held_out))
    apart = rest[~np.isin(groups[rest], groups[fixed_test])]
    enough = all(len(np.unique(groups[apart][targets[apart] == c])) > 1 for c in np.unique(targets[rest]))
    chosen = take_groups(apart if enough else rest, targets, groups, validation, seed + 1)
    return Split(np.setdiff1d(rest, chosen), np.sort(chosen), np.sort(test))
