"""From logits to probabilities that match frequencies: a temperature and a shift of the defective classes."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from edge_qc.domain import FloatArray
from edge_qc_trainer.batches import FloatWeights
from edge_qc_trainer.dataset import Flags
from edge_qc_trainer.network import LOGITS, RAW_MAPS

LEAST_TEMPERATURE, MOST_TEMPERATURE = 1 / 64, 8.0


@dataclass(frozen=True, slots=True)
class Calibration:
    """``probabilities = softmax(logits / temperature + shift * defective)``.

    Attributes:
        temperature: what the logits are divided by, 1/64 to 8.
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


def calibrate(logits: FloatArray, defective: Flags, good: Flags, weights: FloatWeights) -> Calibration:
    """The calibration under which what was seen is likeliest (Platt, 1999; temperature: Guo et al., ICML 2017).

    A network that knows a handful of good parts takes a new one for strange, and leans to `defective`, and the evidence
    of all places adds up to a level of its own: the shift undoes both. Give it logits of parts that the network has not
    seen.

    Args:
        logits: shape (pictures, classes).
        defective: shape (pictures,): the truth.
        good: shape (classes,): which classes are good.
        weights: shape (pictures,), sum 1.
    """
    from scipy.optimize import minimize

    # Where the classes can be told apart without an error, the likeliest level is anywhere between them and the
    # likeliest temperature 0. Platt's targets keep both at bay: nothing is more certain than so many pictures can tell.
    doubt = 1 / (0.5 / float((weights**2).sum()) + 2)
    targets = np.where(defective, 1 - doubt, doubt)

    def loss(parameters: npt.NDArray[np.float64]) -> float:
        temperature = float(np.exp(parameters[0]))
        log_odds = defect_log_odds(logits, good, temperature) + parameters[1] / temperature
        return float((weights * (np.logaddexp(0, log_odds) - targets * log_odds)).sum())

    temperatures = np.log(LEAST_TEMPERATURE), np.log(MOST_TEMPERATURE)
    begin = 0.0, -float(weights @ defect_log_odds(logits, good, 1.0))
    found = minimize(loss, begin, method="L-BFGS-B", bounds=[temperatures, (None, None)])
    temperature = round(float(np.exp(found.x[0])), 4)
    return Calibration(temperature, round(float(found.x[1]) / temperature, 4))


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
