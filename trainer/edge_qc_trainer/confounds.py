"""What gives the class away without the part: a network would learn that first, and fail on the line.

How well a figure tells a class from the others is its AUC, the chance that a picture of the class ranks above one of
the others: 0.5 tells nothing, 1 tells all. Counted by part as well: copies of one part share its light, and a hundred
of them are no more evidence than one.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edge_qc_trainer.audit_pictures import SMALL, Picture
from edge_qc_trainer.dataset import IntArray

Floats = npt.NDArray[np.float64]
FOLDS = 5
_TREES = 60
_REACH = 0.6  # of the side, from the middle: a part that fits into the picture leaves the corners beyond it free


@dataclass(frozen=True, slots=True, eq=False)
class Confound:
    """How well one thing that is not the part tells a class from the others.

    Attributes:
        name: brightness, contrast, file size, picture size, or background.
        label: the class that stands out most.
        auc_pictures: by picture, 0 to 1.
        auc_parts: by part, by the mean over its pictures.
        ci95: of ``auc_parts`` (Hanley and McNeil, 1982).
        parts: of the class, and of the others.
        folds: of the grouped cross-validation; 0 where nothing was fitted.
        values: shape (pictures,), what was ranked: a larger value speaks for ``label`` unless ``lower``.
        lower: whether the class has the lower values.
    """

    name: str
    label: str
    auc_pictures: float
    auc_parts: float
    ci95: tuple[float, float]
    parts: tuple[int, int]
    folds: int
    values: Floats
    lower: bool


def find_confounds(
    pictures: Sequence[Picture], targets: IntArray, groups: IntArray, labels: Sequence[str]
) -> list[Confound]:
    """All of them, in a fixed order; none where there are not two classes.

    Args:
        pictures: what was measured.
        targets: shape (pictures,): place of each one's class in ``labels``.
        groups: shape (pictures,): the part that each shows.
        labels: the classes.
    """
    if len(np.unique(targets)) < 2:
        return []
    figures = {
        "brightness": np.array([picture.brightness for picture in pictures]),
        "contrast": np.array([picture.contrast for picture in pictures]),
        "file size": np.array([float(picture.size_bytes) for picture in pictures]),
    }
    if len({picture.shape for picture in pictures}) > 1:
        figures["picture size"] = np.array([float(picture.shape[0] * picture.shape[1]) for picture in pictures])
    found = [_by_figure(name, values, targets, groups, labels) for name, values in figures.items()]
    fitted = _by_background(pictures, targets, groups, labels)
    return found + ([fitted] if fitted else [])


def _by_figure(name: str, values: Floats, targets: IntArray, groups: IntArray, labels: Sequence[str]) -> Confound:
    """The class that the figure tells best, whether it is high or low there."""
    ranked = []
    for target in np.unique(targets):
        by_picture, by_part, counts = _aucs(values, targets == target, groups)
        # The direction is that of the stronger of the two: a part in many copies can turn one of them round.
        lower = max(by_picture, by_part) < 1 - min(by_picture, by_part)
        turned = (1 - by_picture, 1 - by_part) if lower else (by_picture, by_part)
        ranked.append(Confound(name, labels[target], *turned, _interval(turned[1], *counts), counts, 0, values, lower))
    return max(ranked, key=_strength)


def _strength(confound: Confound) -> float:
    return max(confound.auc_parts, confound.auc_pictures)


def _by_background(
    pictures: Sequence[Picture], targets: IntArray, groups: IntArray, labels: Sequence[str]
) -> Confound | None:
    """What a forest reads from the corners of parts that it was not fitted to; None with too few parts for that."""
    from sklearn.ensemble import ExtraTreesClassifier
    from sklearn.model_selection import StratifiedGroupKFold

    classes = np.unique(targets)
    folds = min(FOLDS, *(len(np.unique(groups[targets == target])) for target in classes))
    if folds < 2:
        return None
    features, weights = background(np.stack([picture.small for picture in pictures])), _weights(targets, groups)
    scores = np.zeros((len(pictures), len(labels)))
    splitter = StratifiedGroupKFold(folds, shuffle=True, random_state=0)
    for fitted, judged in splitter.split(features, targets, groups):
        forest = ExtraTreesClassifier(_TREES, min_samples_leaf=2, random_state=0)
        forest.fit(features[fitted], targets[fitted], sample_weight=weights[fitted])
        scores[np.ix_(judged, forest.classes_)] = forest.predict_proba(features[judged])
    ranked = []
    for target in classes:
        by_picture, by_part, counts = _aucs(scores[:, target], targets == target, groups)
        interval = _interval(by_part, *counts)
        ranked.append(
            Confound(
                "background",
                labels[target],
                by_picture,
                by_part,
                interval,
                counts,
                folds,
                scores[:, target],
                lower=False,
            )
        )
    return max(ranked, key=_strength)


def background(small: npt.NDArray[np.uint8]) -> Floats:
    """Figures of the corners, in which no part reaches that fits into the picture.

    Args:
        small: shape (pictures, 64, 64), uint8.

    Returns:
        Shape (pictures, 22): mean, deviation, darkest and brightest of each corner, as they lie and sorted, and of all.
    """
    axis = (np.arange(SMALL) + 0.5) / SMALL - 0.5
    outside = np.hypot(axis[:, None], axis[None, :]) > _REACH
    sides = ((axis < 0, axis < 0), (axis < 0, axis > 0), (axis > 0, axis < 0), (axis > 0, axis > 0))
    corners = [small[:, outside & rows[:, None] & columns[None, :]].astype(float) for rows, columns in sides]
    each = np.stack([[c.mean(1), c.std(1), c.min(1), c.max(1)] for c in corners]).transpose(2, 1, 0)
    everything = np.concatenate(corners, axis=1)
    whole = np.stack([everything.mean(1), everything.std(1)], axis=1)
    # Sorted, so that a turn by quarters or a mirror, which tell nothing, need not be learnt.
    return np.concatenate([each[:, :2].reshape(len(small), -1), np.sort(each[:, :3]).reshape(len(small), -1), whole], 1)


def _weights(targets: IntArray, groups: IntArray) -> Floats:
    """Every part of a class alike, and every class alike."""
    weights = np.zeros(len(targets))
    for target in np.unique(targets):
        of_class = targets == target
        _, part, copies = np.unique(groups[of_class], return_inverse=True, return_counts=True)
        weights[of_class] = 1 / (copies[part] * len(copies))
    return np.asarray(weights * len(targets) / weights.sum(), np.float64)


def _aucs(values: Floats, positive: npt.NDArray[np.bool_], groups: IntArray) -> tuple[float, float, tuple[int, int]]:
    """By picture, by part, and how many parts are positive and negative."""
    from sklearn.metrics import roc_auc_score

    # A group with two labels is a part of each class: there is no telling which of the labels is wrong.
    keys, part = np.unique(2 * groups + positive, return_inverse=True)
    means = np.bincount(part, values) / np.bincount(part)
    of_parts = keys % 2 == 1
    counts = int(of_parts.sum()), int((~of_parts).sum())
    return float(roc_auc_score(positive, values)), float(roc_auc_score(of_parts, means)), counts


def _interval(auc: float, positives: int, negatives: int) -> tuple[float, float]:
    """95 % (Hanley and McNeil, 1982, equation 2)."""
    first, second = auc / (2 - auc), 2 * auc**2 / (1 + auc)
    spread = (positives - 1) * (first - auc**2) + (negatives - 1) * (second - auc**2)
    error = np.sqrt(max(0.0, auc * (1 - auc) + spread) / (positives * negatives))
    return float(max(0.0, auc - 1.96 * error)), float(min(1.0, auc + 1.96 * error))
