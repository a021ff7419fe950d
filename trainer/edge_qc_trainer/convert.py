"""A fitted network into the int8 model that the device runs.

Keras may train on any backend; only TensorFlow converts. So conversion runs in a process of its own
(``python -m edge_qc_trainer.convert``), which is also the one way for the ``convert`` command.
"""

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from edge_qc.bundle import Input, Output, Outputs
from edge_qc.domain import FloatArray, Pixels
from edge_qc.preprocess import Fit, standardise
from edge_qc_trainer.dataset import IntArray
from edge_qc_trainer.errors import ConversionError
from edge_qc_trainer.network import MAPS_TEMPERATURE
from edge_qc_trainer.split import spread_over_parts

CALIBRATION_PICTURES = 300


@dataclass(frozen=True, slots=True, eq=False)
class Quantized:
    """An int8 model, and what a card must say of its tensors.

    Attributes:
        model: the TFLite file.
        input: its input.
        outputs: its outputs.
        temperature: what its logits are divided by to be log-odds.
    """

    model: bytes
    input: Input
    outputs: Outputs
    temperature: float = 1.0


def choose_calibration(candidates: IntArray, targets: IntArray, groups: IntArray, seed: int) -> IntArray:
    """At most 300 of the candidates: the classes alike, and in each class every part before a second copy of one."""
    return spread_over_parts(candidates, targets, groups, seed, CALIBRATION_PICTURES)


def quantize(keras_file: Path, calibration: Pixels, fit: Fit, temperature: float) -> Quantized:
    """Quantizes a saved network to int8, weights a channel each.

    Args:
        keras_file: the ``.keras`` file.
        temperature: what the network's logits are divided by to be log-odds.
        calibration: shape (pictures, size, size), uint8: training pictures that set the ranges.
        fit: how the device brings pictures to the size.

    Raises:
        ConversionError: if TensorFlow fails or is not installed.
    """
    with tempfile.TemporaryDirectory(prefix="edge-qc-train-") as folder:
        pictures, result = Path(folder) / "calibration.npy", Path(folder) / "model.tflite"
        np.save(pictures, calibration)
        given = [str(keras_file), str(pictures), str(result), str(temperature)]
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
        described = describe(result.read_bytes(), fit)
    return replace(described, temperature=MAPS_TEMPERATURE if described.outputs.heatmap else temperature)


def describe(model: bytes, fit: Fit) -> Quantized:
    """Reads shapes, scales and zero points from an int8 TFLite model, as the device's runtime sees them.

    Raises:
        ConversionError: if a tensor is not int8, or the outputs are not logits and at most one map.
    """
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_content=model)
    inputs, outputs = interpreter.get_input_details(), interpreter.get_output_details()
    if any(tensor["dtype"] is not np.int8 for tensor in (*inputs, *outputs)):
        raise ConversionError("the converted model is not int8 throughout", expected="int8 inputs and outputs")
    _, height, width, _ = (int(side) for side in inputs[0]["shape"])
    by_rank = {len(tensor["shape"]): _output(index, tensor) for index, tensor in enumerate(outputs)}
    if 2 not in by_rank or len(by_rank) != len(outputs):
        shapes = [tuple(map(int, tensor["shape"])) for tensor in outputs]
        raise ConversionError(
            "the converted model's outputs are not known",
            expected="logits (1, classes), and maps (1, rows, columns, classes) or nothing",
            got=f"{shapes}",
        )
    scale, zero_point = inputs[0]["quantization"]
    card_input = Input(height=height, width=width, scale=float(scale), zero_point=int(zero_point), fit=fit)
    return Quantized(model, card_input, Outputs(logits=by_rank[2], heatmap=by_rank.get(4)))


def _output(index: int, tensor: Any) -> Output:
    scale, zero_point = tensor["quantization"]
    shape = tuple(int(side) for side in tensor["shape"])
    return Output(index=index, shape=shape, scale=float(scale), zero_point=int(zero_point))


def _convert(keras_file: str, pictures: str, result: str, temperature: str) -> None:
    import keras
    import tensorflow as tf

    from edge_qc_trainer.network import for_device

    def representative() -> Iterator[list[FloatArray]]:
        for pixels in np.load(pictures):
            yield [standardise(pixels)[None, ..., None]]

    model = keras.saving.load_model(keras_file, compile=False)
    converter = tf.lite.TFLiteConverter.from_keras_model(for_device(model, float(temperature)))
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = representative
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type = converter.inference_output_type = tf.int8
    Path(result).write_bytes(converter.convert())


if __name__ == "__main__":
    _convert(*sys.argv[1:])
