"""An int8 TFLite model on LiteRT's interpreter (or its predecessor, tflite-runtime)."""

import math
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from edge_qc.bundle import Bundle, Output
from edge_qc.domain import FloatArray, Frame, Pixels, Prediction
from edge_qc.errors import ModelError, NoPartError
from edge_qc.preprocess import quantize, resize
from edge_qc.unwrap import Opening, find_opening, lay_back, unwrap

WARM_UPS = 3
HEATMAP_CELLS = 24  # of an unwrapped part: as fine as what the network's 19 rows say of its picture
HEATMAP_SOFTNESS = 2.0  # halves the log-odds of a place: of several that are certain, the loudest still stands out


class LiteRtClassifier:
    """Runs a bundle's model.

    Args:
        bundle: a verified bundle.
        threads: threads of the runtime, 1 to 4; one is quickest for a model this small.

    Raises:
        ModelError: if the runtime refuses the model, or its tensors are not what the card says.
    """

    def __init__(self, bundle: Bundle, threads: int = 1) -> None:
        self._card = bundle.card
        self._interpreter = _load(bundle, threads)
        self._input = _input_index(self._interpreter, bundle)
        outputs = self._interpreter.get_output_details()
        said = self._card.outputs
        self._adds_up = said.logits is None
        self._told = _found(outputs, "heatmap" if self._adds_up else "logits", said.told_by, bundle)
        self._maps = None if said.heatmap is None else _found(outputs, "heatmap", said.heatmap, bundle)
        self._good = np.array([label in self._card.ok_labels for label in self._card.labels])
        self._softness = said.softness or self._card.temperature
        # The first inferences allocate and warm the caches: not on a part's time.
        blank = np.zeros((self._card.input.height, self._card.input.width), np.uint8)
        for _ in range(WARM_UPS):
            self.invoke(blank)
            self.read(None)

    @property
    def labels(self) -> tuple[str, ...]:
        """The classes, in the order of the probabilities."""
        return self._card.labels

    def classify(self, frame: Frame) -> Prediction:
        """See ``Classifier``. Its three steps stand alone for who measures them."""
        sheet, opening = self.prepare(frame)
        self.invoke(sheet)
        return self.read(opening)

    def prepare(self, frame: Frame) -> tuple[Pixels, Opening | None]:
        """What the model sees of a frame, (height, width) uint8, and the opening that it is unwrapped around, if any.

        Raises:
            NoPartError: if there is no part to unwrap.
        """
        shape = self._card.input
        pixels = resize(frame.pixels, shape.height, shape.width, shape.fit)
        if shape.unwrap == "none":
            return pixels, None
        opening = find_opening(pixels)
        if opening is None:
            raise NoPartError(
                "no part to unwrap",
                expected="a dark round opening near the middle of the picture, and the ring around it in sight",
                got="none",
                remedy="Look whether the part lies under the camera and the region of interest fits it",
            )
        return unwrap(pixels, opening), opening

    def invoke(self, pixels: Pixels) -> None:
        """Runs the model on what ``prepare`` gave.

        Raises:
            ModelError: if the runtime fails.
        """
        shape = self._card.input
        # The view dies with the statement: the runtime refuses to run while anyone holds one.
        quantize(
            pixels,
            shape.scale,
            shape.zero_point,
            self._interpreter.tensor(self._input)()[0, :, :, 0],
            shape.normalisation,
        )
        try:
            self._interpreter.invoke()
        except (RuntimeError, ValueError) as error:
            raise ModelError(f"model {self._card.id} failed", got=str(error)) from error

    def read(self, opening: Opening | None) -> Prediction:
        """The prediction of the last ``invoke``; its heatmap lies over what ``prepare`` was given, fitted."""
        told = self._real(self._told)
        logits = add_up(told, self._good, self._softness) if self._adds_up else told.reshape(-1)
        probabilities = softmax(logits / self._card.temperature)
        if self._maps is None:
            return Prediction(self._card.labels, probabilities)
        maps = told if self._adds_up else self._real(self._maps)
        return Prediction(self._card.labels, probabilities, partial(self._draw_heatmap, maps, opening))

    def _real(self, output: tuple[int, Output]) -> FloatArray:
        """An output in real numbers: a copy, which the next part leaves alone."""
        index, card = output
        quantized = self._interpreter.get_tensor(index)[0]
        return np.asarray((quantized.astype(np.float32) - card.zero_point) * np.float32(card.scale), np.float32)

    def _draw_heatmap(self, maps: FloatArray, opening: Opening | None) -> FloatArray:
        shape = self._card.input
        evidence = softmax(maps / np.float32(HEATMAP_SOFTNESS * self._softness))
        heatmap = np.asarray(evidence[..., ~self._good].sum(axis=-1), np.float32)
        return heatmap if opening is None else lay_back(heatmap, opening, shape.height, shape.width, HEATMAP_CELLS)


def add_up(maps: FloatArray, good: npt.NDArray[np.bool_], softness: float) -> FloatArray:
    """What the evidence of all places comes to, as ``edge_qc.bundle.Outputs`` says.

    Args:
        maps: shape (rows, columns, classes), float32: the evidence for each class at each place.
        good: shape (classes,): which classes are good.
        softness: how much many weak signs count beside the loudest.

    Returns:
        The logits, shape (classes,), float32.
    """
    rows, columns, _ = maps.shape
    loudest = maps.max(axis=(0, 1))
    logits = loudest + softness * np.log(np.exp((maps - loudest) / np.float32(softness)).sum(axis=(0, 1)))
    logits[good] -= softness * math.log(rows * columns)  # a mean instead of a sum
    return np.asarray(logits, np.float32)


def softmax(logits: FloatArray) -> FloatArray:
    """Softmax over the last axis, float32."""
    e = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return np.asarray(e / e.sum(axis=-1, keepdims=True), np.float32)


def _load(bundle: Bundle, threads: int) -> Any:  # noqa: ANN401 - neither runtime has types
    try:
        from ai_edge_litert.interpreter import Interpreter  # noqa: PLC0415 - a hardware library stays in its adapter
    except ImportError:
        try:
            from tflite_runtime.interpreter import Interpreter  # noqa: PLC0415
        except ImportError:
            raise ModelError(
                "no runtime for TFLite models",
                expected="ai-edge-litert, or tflite-runtime on armv7l",
                got="neither",
                remedy="pip install ai-edge-litert",
            ) from None
    try:
        interpreter = Interpreter(model_content=bundle.model, num_threads=threads)
        interpreter.allocate_tensors()
    except (RuntimeError, ValueError) as error:
        raise ModelError(
            f"the runtime refuses the model of {bundle.path}",
            expected="an int8 TFLite model",
            got=str(error),
            remedy="Make the bundle anew with edge-qc-train convert",
        ) from error
    return interpreter


def _input_index(interpreter: Any, bundle: Bundle) -> int:  # noqa: ANN401
    details, card = interpreter.get_input_details(), bundle.card.input
    got = details[0]
    expected = (1, card.height, card.width, card.channels)
    if len(details) != 1 or tuple(got["shape"]) != expected or got["dtype"] is not np.int8:
        raise _differs(bundle, "input", f"{expected} int8", f"{tuple(map(int, got['shape']))} {got['dtype'].__name__}")
    _check_quantization(bundle, "input", got, card.scale, card.zero_point)
    return int(got["index"])


def _found(details: Any, name: str, card: Output, bundle: Bundle) -> tuple[int, Output]:  # noqa: ANN401
    """The runtime's number of an output, and what the card says of it."""
    if card.index >= len(details):
        raise _differs(bundle, name, f"output {card.index}", f"{len(details)} outputs")
    got = details[card.index]
    if tuple(got["shape"]) != card.shape or got["dtype"] is not np.int8 or card.shape[-1] != len(bundle.card.labels):
        shape = tuple(map(int, got["shape"]))
        raise _differs(bundle, name, f"{card.shape} int8, one a label", f"{shape} {got['dtype'].__name__}")
    _check_quantization(bundle, name, got, card.scale, card.zero_point)
    return int(got["index"]), card


def _check_quantization(bundle: Bundle, name: str, got: Any, scale: float, zero_point: int) -> None:  # noqa: ANN401
    real_scale, real_zero = got["quantization"]
    if not np.isclose(real_scale, scale, rtol=1e-4) or real_zero != zero_point:
        raise _differs(
            bundle, name, f"scale {scale:g}, zero point {zero_point}", f"scale {real_scale:g}, zero point {real_zero}"
        )


def _differs(bundle: Bundle, name: str, expected: str, got: str) -> ModelError:
    return ModelError(
        f"the model of {bundle.path} is not what its card says: {name}",
        expected=expected,
        got=got,
        remedy="Use the model.json that was made with this model.tflite",
    )
