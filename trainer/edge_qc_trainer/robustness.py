"""What light, optics and place do to the verdicts: every held-out picture under each condition, by the device's code.

The conditions are exact, seeded by picture, and share no code with the training's variations: a fault in those would
otherwise hide itself here.
"""

from collections.abc import Callable, Mapping, Sequence

import cv2
import numpy as np

from edge_qc.bundle import Bundle
from edge_qc.domain import Pixels
from edge_qc.errors import PictureError
from edge_qc.inspector import Inspector
from edge_qc.picture import read_picture
from edge_qc_trainer.dataset import IntArray, LabelledFile
from edge_qc_trainer.evaluate import Judgement, inspector_of, judge_pixels, ungated_inspector_of
from edge_qc_trainer.metrics import Figures, by_group, figures

Vary = Callable[[Pixels, np.random.Generator], Pixels]
CLEAN, CONTROL = "as taken", "background only"
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
    """The corners of a picture: all within the largest ellipse in it takes the mean of what is outside."""
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
        A list for each condition, in the order of the files that could be read. The background alone is judged
        without the gate, which refuses most pictures of nothing.
    """
    gated, ungated = inspector_of(bundle), ungated_inspector_of(bundle)
    found: dict[str, list[Judgement]] = {name: [] for name in (*CONDITIONS, CONTROL)}
    for place, file in enumerate(files):
        try:
            pixels = read_picture(file.path)
        except (PictureError, OSError):
            continue  # named among the unreadable ones, where the pictures are judged as they are
        finally:
            advance()
        for number, (name, vary) in enumerate(CONDITIONS.items()):
            rng = np.random.default_rng([seed, number, place])
            found[name].append(_judge(gated, file, vary(pixels, rng)))
        found[CONTROL].append(_judge(ungated, file, mask_part(pixels)))
    return found


def _judge(inspector: Inspector, file: LabelledFile, pixels: Pixels) -> Judgement:
    return judge_pixels(inspector, file, np.ascontiguousarray(pixels)).without_heatmap()


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
        ``pictures`` and ``parts``; ``conditions``: a row for each, with ``condition``, the figures, ``by_part`` (mean
        accuracy of a part) and ``change`` (of accuracy against the pictures as taken, in points; a picture that was not
        inspected counts as wrong here); ``control``: the row of the background alone.
    """
    rows = [_row(name, found, groups, labels, ok_labels) for name, found in varied.items()]
    clean = next((row["right_of_all"] for row in rows if row["condition"] == CLEAN), 0.0)
    for row in rows:
        row["change"] = 100 * (row["right_of_all"] - clean)
    return {
        "pictures": len(groups),
        "parts": len(np.unique(groups)),
        "conditions": [row for row in rows if row["condition"] != CONTROL],
        "control": next((row for row in rows if row["condition"] == CONTROL), None),
    }


def _row(
    name: str, found: Sequence[Judgement], groups: IntArray, labels: Sequence[str], ok_labels: Sequence[str]
) -> Figures:
    all_figures = figures(found, labels, ok_labels)
    return {
        "condition": name,
        **{key: all_figures[key] for key in _SHORT},
        "not_inspected": all_figures["verdicts"]["not_inspected"],
        "right_of_all": all_figures["accuracy"] * all_figures["n"] / len(found) if found else 0.0,
        "by_part": by_group(found, groups, ok_labels, resamples=0)["mean_accuracy"],
    }
