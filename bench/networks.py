"""How fast the shipped network is beside MobileNetV2 1.0 and EfficientNet-B0: same picture size, runtime and thread.

    python bench/networks.py [--rounds N]

All three are int8 throughout, take 300 x 300 gray pictures and tell two classes apart; the two others have random
weights, which does not change their time. The rounds are interleaved, so that whatever else the machine does strikes
all three. Times are medians; read the ratios.
"""

import argparse
import contextlib
import io
import os
import platform
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
from ai_edge_litert.interpreter import Interpreter
from rich.console import Console
from rich.table import Table

from edge_qc.bundle import SHIPPED, load_bundle
from edge_qc_trainer.graph import multiply_adds

SIDE = 300
WANTED = {"MobileNetV2 1.0": 8.0, "EfficientNet-B0": 14.0}


@dataclass
class Network:
    """A network under test: its size, its multiply-adds, and the milliseconds of each round."""

    name: str
    model: bytes
    multiply_adds: int
    times_ms: list[float] = field(default_factory=list)

    def run(self) -> "Callable[[], None]":
        """A function that judges one picture."""
        interpreter = Interpreter(model_content=self.model, num_threads=1)
        interpreter.allocate_tensors()
        given = interpreter.get_input_details()[0]
        picture = np.random.default_rng(0).integers(-128, 128, given["shape"]).astype(np.int8)

        def judge() -> None:
            interpreter.set_tensor(given["index"], picture)
            interpreter.invoke()

        return judge


def quantized(build: "Callable[..., Any]") -> bytes:
    """A Keras application with random weights as an int8 model."""
    import keras  # noqa: PLC0415 - after the choice of its log level
    import tensorflow as tf  # noqa: PLC0415

    inputs = keras.layers.Input(batch_shape=(1, SIDE, SIDE, 1))
    body = build(weights=None, input_shape=(SIDE, SIDE, 1), classes=2, classifier_activation=None)

    def pictures() -> Iterator[list[np.ndarray]]:
        rng = np.random.default_rng(0)
        for _ in range(4):
            yield [rng.standard_normal((1, SIDE, SIDE, 1)).astype(np.float32)]

    converter = tf.lite.TFLiteConverter.from_keras_model(keras.Model(inputs, body(inputs, training=False)))
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = pictures
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type = converter.inference_output_type = tf.int8
    with contextlib.redirect_stdout(io.StringIO()):  # a page of notes on the graph
        return bytes(converter.convert())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=200)
    rounds = parser.parse_args().rounds
    import keras  # noqa: PLC0415

    shipped = load_bundle(SHIPPED)
    models = {
        shipped.card.id: shipped.model,
        "MobileNetV2 1.0": quantized(keras.applications.MobileNetV2),
        "EfficientNet-B0": quantized(keras.applications.EfficientNetB0),
    }
    networks = [Network(name, model, multiply_adds(model)) for name, model in models.items()]
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})  # a thread that moves between cores leaves its cache behind
    judges = [network.run() for network in networks]
    for number in range(rounds + 5):
        for network, judge in zip(networks, judges, strict=True):
            began = time.perf_counter()
            judge()
            if number >= 5:
                network.times_ms.append((time.perf_counter() - began) * 1e3)
    show(networks, rounds)


def show(networks: list[Network], rounds: int) -> None:
    machine, load = platform.processor() or platform.machine(), os.getloadavg()[0]
    table = Table(title=f"one thread of {machine}, {rounds} rounds, load {load:.1f}")
    for column in ("network", "KB", "million multiply-adds", "median, ms", "times ours", "wanted"):
        table.add_column(column, justify="left" if column == "network" else "right")
    ours = float(np.median(networks[0].times_ms))
    for network in networks:
        median = float(np.median(network.times_ms))
        wanted = WANTED.get(network.name)
        table.add_row(
            network.name,
            f"{len(network.model) / 1000:.0f}",
            f"{network.multiply_adds / 1e6:.0f}",
            f"{median:.2f}",
            f"{median / ours:.1f}",
            "" if wanted is None else f"at least {wanted:g}",
        )
    Console().print(table)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(Path(folder))  # keras leaves files where it stands
        main()
