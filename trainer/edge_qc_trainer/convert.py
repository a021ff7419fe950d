"""A fitted network into the int8 model that the device runs.

Keras may train on any backend; only TensorFlow converts. So conversion runs in a process of its own
(``python -m edge_qc_trainer.convert``), which is also the one way for the ``convert`` command.
"""

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import TypeAdapter

from edge_qc.bundle import Input, Output, Outputs
from edge_qc.domain import FloatArray, Pixels
from edge_qc.preprocess import Fit, Normalisation, standardise
from edge_qc_trainer.dataset import IntArray
from edge_qc_trainer.errors import ConversionError
from edge_qc_trainer.split import spread_over_parts

CALIBRATION_PICTURES = 300


@dataclass(frozen=True, slots=True, eq=False)
class Quantized:
    """An int8 model, and what a card must say of its tensors.

    Attributes:
        model: the TFLite file.
        input: its input.
        outputs: its outputs.
    """

    model: bytes
    input: Input
    outputs: Outputs


def choose_calibration(candidates: IntArray, targets: IntArray, groups: IntArray, seed: int) -> IntArray:
    """At most 300 of the candidates: the classes alike, and in each class every part before a second copy of one."""
    return spread_over_parts(candidates, targets, groups, seed, CALIBRATION_PICTURES)


def quantize(
    keras_file: Path, calibration: Pixels, fit: Fit, normalisation: Normalisation, softness: float | None
) -> Quantized:
    """Quantizes a saved network to int8, weights a channel each.

    Args:
        keras_file: the ``.keras`` file.
        calibration: shape (pictures, size, size), uint8: training pictures that set the ranges.
        fit: how the device brings pictures to the size.
        normalisation: how it makes the network's input of them.
        softness: how the evidence of the network's maps adds up; None if it has none.

    Raises:
        ConversionError: if TensorFlow fails or is not installed.
    """
    with tempfile.TemporaryDirectory(prefix="edge-qc-train-") as folder:
        pictures, result = Path(folder) / "calibration.npy", Path(folder) / "model.tflite"
        np.save(pictures, calibration)
        given = [str(keras_file), str(pictures), str(result), normalisation]
        command = [sys.executable, "-m", "edge_qc_trainer.convert", *given]
        # No accelerator: the conversion needs none, and the training process may hold its memory.
        environment = {**os.environ, "KERAS_BACKEND": "tensorflow", "CUDA_VISIBLE_DEVICES": "-1"}
        environment["PYTHONPATH"] = os.pathsep.join(path for path in sys.path if path)
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)  # noqa: S603 - our own
        if done.returncode != 0 or not result.is_file():
            raise ConversionError(
                f"{keras_file.name} could not be converted",
                expected="a network of ops that have an int8 form, and tensorflow installed",
                got="\n".join(done.stderr.strip().splitlines()[-5:]),
                remedy="pip install 'edge-qc[train]'; see the lines above for an op without int8 form",
            )
        return describe(result.read_bytes(), fit, softness)


def describe(model: bytes, fit: Fit, softness: float | None) -> Quantized:
    """Reads shapes, scales and zero points from an int8 TFLite model, as the device's runtime sees them.

    Args:
        model: the TFLite file.
        fit: as in ``quantize``.
        softness: likewise.

    Raises:
        ConversionError: if a tensor is not int8, or the output is neither logits nor a map.
    """
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_content=model)
    inputs, outputs = interpreter.get_input_details(), interpreter.get_output_details()
    if any(tensor["dtype"] is not np.int8 for tensor in (*inputs, *outputs)):
        raise ConversionError("the converted model is not int8 throughout", expected="int8 inputs and outputs")
    _, height, width, _ = (int(side) for side in inputs[0]["shape"])
    rank = 2 if softness is None else 4
    shapes = [tuple(map(int, tensor["shape"])) for tensor in outputs]
    if [len(shape) for shape in shapes] != [rank]:
        raise ConversionError(
            "the converted model's outputs are not known",
            expected="logits (1, classes)" if softness is None else "maps (1, rows, columns, classes)",
            got=f"{shapes}",
        )
    scale, zero_point = inputs[0]["quantization"]
    card_input = Input(height=height, width=width, scale=float(scale), zero_point=int(zero_point), fit=fit)
    output = _output(0, outputs[0])
    said = Outputs(logits=output) if softness is None else Outputs(heatmap=output, softness=softness)
    return Quantized(model, card_input, said)


def _output(index: int, tensor: Any) -> Output:
    scale, zero_point = tensor["quantization"]
    shape = tuple(int(side) for side in tensor["shape"])
    return Output(index=index, shape=shape, scale=float(scale), zero_point=int(zero_point))


def _convert(keras_file: str, pictures: str, result: str, normalisation: Normalisation) -> None:
    import keras
    import tensorflow as tf

    from edge_qc_trainer.network import for_device

    def representative() -> Iterator[list[FloatArray]]:
        for pixels in np.load(pictures):
            yield [standardise(pixels, normalisation)[None, ..., None]]

    model = keras.saving.load_model(keras_file, compile=False)
    converter = tf.lite.TFLiteConverter.from_keras_model(for_device(model))
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = representative
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type = converter.inference_output_type = tf.int8
    Path(result).write_bytes(converter.convert())


if __name__ == "__main__":
    _, _keras_file, _pictures, _result, _normalisation = sys.argv
    _convert(_keras_file, _pictures, _result, TypeAdapter(Normalisation).validate_python(_normalisation))
