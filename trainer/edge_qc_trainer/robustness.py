"""What light, optics and place do to the verdicts: every held-out picture under each condition, by the device's code.

The conditions are exact, seeded by picture, and share no code with the training's variations: a fault in those would
otherwise hide itself here.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np

from edge_qc.bundle import Bundle
from edge_qc.domain import Pixels
from edge_qc.errors import PictureError
from edge_qc.picture import read_picture
from edge_qc_trainer.dataset import Flags, IntArray, LabelledFile
from edge_qc_trainer.evaluate import BackgroundJudge, Judgement, gone, inspector_of, judge_pixels
from edge_qc_trainer.metrics import Figures, figures, is_right

Vary = Callable[[Pixels, np.random.Generator], Pixels]
CLEAN, CONTROL = "as taken", "background only"
BEARABLE = 0.5  # points of accuracy that a condition may cost
_SHORT = ("n", "accuracy", "escape", "overkill", "auc", "verdicts")


def _levels(change: Callable[[np.ndarray], np.ndarray]) -> Vary:
    table = np.clip(np.rint(change(np.arange(256, dtype=np.float64))), 0, 255).astype(np.uint8)
    return lambda pixels, _rng: np.asarray(cv2.LUT(pixels, table), np.uint8)


def _lamp(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    """Light that falls by 40 % of its mean from one edge to the other, from any side."""
    (rows, columns), side = pixels.shape, rng.uniform(0, 2 * np.pi)
    y, x = np.linspace(-0.5, 0.5, rows)[:, None], np.linspace(-0.5, 0.5, columns)[None, :]
    lit = pixels * (1 + 0.4 * (x * np.cos(side) + y * np.sin(side)))
    return np.asarray(np.clip(np.rint(lit), 0, 255), np.uint8)


def _blur(pixels: Pixels, _rng: np.random.Generator) -> Pixels:
    return np.asarray(cv2.GaussianBlur(pixels, (0, 0), 1.0), np.uint8)


def _noise(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    noisy = pixels + rng.normal(0, 8, pixels.shape)
    return np.asarray(np.clip(np.rint(noisy), 0, 255), np.uint8)


def _jpeg(pixels: Pixels, _rng: np.random.Generator) -> Pixels:
    _, data = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, 40])
    return np.asarray(cv2.imdecode(data, cv2.IMREAD_GRAYSCALE), np.uint8)


def _shift(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    """5 % of each side, up or down and left or right."""
    rows, columns = pixels.shape
    move = 0.05 * np.array([columns, rows]) * rng.choice((-1, 1), 2)
    return _warp(pixels, np.hstack([np.eye(2), move[:, None]]))


def _scale(factor: float) -> Vary:
    return lambda pixels, _rng: _warp(pixels, cv2.getRotationMatrix2D(_centre(pixels), 0, factor))


def _turn(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    return _warp(pixels, cv2.getRotationMatrix2D(_centre(pixels), rng.uniform(0, 360), 1.0))


def _centre(pixels: Pixels) -> tuple[float, float]:
    rows, columns = pixels.shape
    return (columns - 1) / 2, (rows - 1) / 2


def _warp(pixels: Pixels, affine: np.ndarray) -> Pixels:
    rows, columns = pixels.shape
    # Beyond the picture lies more of the background, not a mirrored part.
    moved = cv2.warpAffine(pixels, affine, (columns, rows), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(moved, np.uint8)


CONDITIONS: Mapping[str, Vary] = {
    CLEAN: lambda pixels, _rng: pixels,
    "gain -30 %": _levels(lambda x: 0.7 * x),
    "gain +30 %": _levels(lambda x: 1.3 * x),
    "offset -40": _levels(lambda x: x - 40),
    "offset +40": _levels(lambda x: x + 40),
    "gamma 0.6": _levels(lambda x: 255 * (x / 255) ** 0.6),
    "gamma 1.6": _levels(lambda x: 255 * (x / 255) ** 1.6),
    "lamp gradient 40 %": _lamp,
    "blur sigma 1 px": _blur,
    "noise sigma 8": _noise,
    "JPEG quality 40": _jpeg,
    "shift ±5 %": _shift,
    "scale -8 %": _scale(0.92),
    "scale +8 %": _scale(1.08),
    "any rotation": _turn,
}


def mask_part(pixels: Pixels) -> Pixels:
    """The corners of what the model sees: all within the largest ellipse in it takes the mean of what is outside."""
    rows, columns = pixels.shape
    y, x = np.linspace(-1, 1, rows)[:, None], np.linspace(-1, 1, columns)[None, :]
    outside = x**2 + y**2 > 1
    masked = np.full_like(pixels, round(float(pixels[outside].mean())))
    masked[outside] = pixels[outside]
    return masked


def judge_varied(
    bundle: Bundle, files: Sequence[LabelledFile], seed: int, advance: Callable[[], object] = lambda: None
) -> dict[str, list[Judgement]]:
    """The verdicts on every file under each condition, and on its background alone.

    Args:
        bundle: a verified bundle.
        files: whole pictures that the model was not fitted to.
        seed: with a file's place, of its noise, its lamp and its moves.
        advance: called after each file.

    Returns:
        A list for each condition, in the order of the files.

    Raises:
        DataError: if one can no longer be read.
    """
    inspector, background = inspector_of(bundle), BackgroundJudge(bundle, mask_part)
    found: dict[str, list[Judgement]] = {name: [] for name in (*CONDITIONS, CONTROL)}
    for place, file in enumerate(files):
        pixels = _read_again(file.path)
        advance()
        for number, (name, vary) in enumerate(CONDITIONS.items()):
            rng = np.random.default_rng([seed, number, place])
            varied = np.ascontiguousarray(vary(pixels, rng))
            found[name].append(judge_pixels(inspector, file, varied).without_heatmap())
        found[CONTROL].append(background(file, pixels))
    return found


def _read_again(path: Path) -> Pixels:
    try:
        return read_picture(path)
    except (PictureError, OSError) as error:
        raise gone(path, str(error)) from None


def table(
    varied: Mapping[str, Sequence[Judgement]], groups: IntArray, labels: Sequence[str], ok_labels: Sequence[str]
) -> Figures:
    """The figures under each condition.

    Args:
        varied: of ``judge_varied``.
        groups: shape (pictures,), int64: the part of each.
        labels: the classes.
        ok_labels: those that are good.

    Returns:
        ``pictures`` and ``parts``, and of each class ``pictures_by_class``; ``conditions``: a row for each (see
        ``_row``); ``compared``: how many but the first; ``worse_than_half_a_point``: how many of those; ``worst``: the
        one that costs most, None where none costs anything; ``control``: the row of the background alone, which is not
        ``possible`` where no part was found to mask.
    """
    rows = {name: _row(name, found, varied[CLEAN], groups, labels, ok_labels) for name, found in varied.items()}
    control = rows.pop(CONTROL, None)
    if control:
        control["possible"] = control["n"] > 0
        if not control["possible"]:
            control.update(dict.fromkeys(("accuracy", "right_of_all", "by_part", "change", "change_by_part")))
    truth = np.array([judgement.label for judgement in varied[CLEAN]])
    compared = [row for name, row in rows.items() if name != CLEAN]
    worst = min(compared, key=lambda row: row["change"], default={"change": 0})
    return {
        "pictures": len(groups),
        "parts": len(np.unique(groups)),
        "pictures_by_class": {
            label: {"pictures": int((truth == label).sum()), "parts": len(np.unique(groups[truth == label]))}
            for label in labels
        },
        "compared": len(compared),
        "worse_than_half_a_point": sum(row["change"] < -BEARABLE for row in compared),
        "worst": {key: worst[key] for key in ("condition", "change")} if worst["change"] < 0 else None,
        "conditions": list(rows.values()),
        "control": control,
    }


def _row(
    name: str,
    found: Sequence[Judgement],
    clean: Sequence[Judgement],
    groups: IntArray,
    labels: Sequence[str],
    ok_labels: Sequence[str],
) -> Figures:
    """The figures under a condition, and against the pictures as taken.

    Of those that were inspected: the figures. Of all pictures, one that was not inspected counting as wrong:
    ``right_of_all``; ``by_part``: the mean of the parts' own shares; ``change`` and ``change_by_part``: of these two
    against the pictures as taken, in points; ``newly_wrong`` and ``newly_right``: pictures.
    """
    all_figures = figures(found, labels, ok_labels)
    right, was_right = (np.array([is_right(one) for one in judgements], bool) for judgements in (found, clean))
    by_part, was_by_part = _by_part(right, groups), _by_part(was_right, groups)
    return {
        "condition": name,
        **{key: all_figures[key] for key in _SHORT},
        "not_inspected": all_figures["verdicts"]["not_inspected"],
        "right_of_all": float(right.mean()),
        "by_part": by_part,
        "change": round(100 * float(right.mean() - was_right.mean()), 6),
        "change_by_part": round(100 * (by_part - was_by_part), 6),
        "newly_wrong": int((was_right & ~right).sum()),
        "newly_right": int((right & ~was_right).sum()),
    }


def _by_part(right: Flags, groups: IntArray) -> float:
    """The mean of the parts' own shares."""
    part = np.unique(groups, return_inverse=True)[1]
    return float((np.bincount(part, right) / np.bincount(part)).mean())
