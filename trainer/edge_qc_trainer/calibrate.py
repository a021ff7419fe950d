"""From logits to probabilities that match frequencies: a temperature and a shift of the defective classes."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from edge_qc.domain import FloatArray
from edge_qc_trainer.batches import FloatWeights
from edge_qc_trainer.dataset import Flags
from edge_qc_trainer.network import LOGITS, RAW_MAPS

MOST_TEMPERATURE = 8.0


@dataclass(frozen=True, slots=True)
class Calibration:
    """``probabilities = softmax(logits / temperature + shift * defective)``.

    Attributes:
        temperature: what the logits are divided by, 1/8 to 8.
        shift: what is then added to the logits of the defective classes.
    """

    temperature: float = 1.0
    shift: float = 0.0


def defect_log_odds(logits: FloatArray, good: Flags, temperature: float) -> npt.NDArray[np.float64]:
    """Log-odds of the defective classes together against the good ones; shape (pictures,).

    Args:
        logits: shape (pictures, classes).
        good: shape (classes,): which are good.
        temperature: what the logits are divided by.
    """
    scaled = logits.astype(np.float64) / temperature
    together = np.logaddexp.reduce
    return np.asarray(together(scaled[:, ~good], axis=1) - together(scaled[:, good], axis=1))


def probabilities_of(logits: FloatArray, good: Flags, calibration: Calibration) -> FloatArray:
    """Calibrated probabilities (pictures, classes) float32 of logits of that shape.

    Args:
        logits: shape (pictures, classes).
        good: shape (classes,): which are good.
        calibration: what the logits still need.
    """
    scaled = logits.astype(np.float64) / calibration.temperature + calibration.shift * ~good
    e = np.exp(scaled - scaled.max(axis=1, keepdims=True))
    return np.asarray(e / e.sum(axis=1, keepdims=True), np.float32)


def calibrate(
    logits: FloatArray, defective: Flags, good: Flags, weights: FloatWeights, *, with_shift: bool = True
) -> Calibration:
    """The calibration under which what was seen is likeliest (Platt, 1999; temperature: Guo et al., ICML 2017).

    A network that knows a handful of good parts takes a new one for strange, and leans to `defective`; the shift
    undoes that. Give it logits of parts that the network has not seen.

    Args:
        logits: shape (pictures, classes).
        defective: shape (pictures,): the truth.
        good: shape (classes,): which classes are good.
        weights: shape (pictures,), sum 1.
        with_shift: False fits the temperature alone.
    """
    from scipy.optimize import minimize

    def loss(parameters: npt.NDArray[np.float64]) -> float:
        log_odds = defect_log_odds(logits, good, float(np.exp(parameters[0]))) + parameters[1]
        return float((weights * np.logaddexp(0, np.where(defective, -log_odds, log_odds))).sum())

    most = np.log(MOST_TEMPERATURE)
    found = minimize(loss, np.zeros(2), method="L-BFGS-B", bounds=[(-most, most), (-20, 20) if with_shift else (0, 0)])
    return Calibration(round(float(np.exp(found.x[0])), 4), round(float(found.x[1]), 4))


def shift_logits(model: Any, defective: Flags, amount: float) -> None:
    """Adds ``amount`` to the logits of the defective classes by way of the last layer's bias.

    Args:
        model: a network of ``edge_qc_trainer.network``.
        defective: shape (classes,): which are defective.
        amount: in logits, before any temperature.
    """
    names = [layer.name for layer in model.layers]
    layer = model.get_layer(RAW_MAPS if RAW_MAPS in names else LOGITS)
    kernel, bias = layer.get_weights()
    layer.set_weights([kernel, bias + amount * defective.astype(bias.dtype)])
