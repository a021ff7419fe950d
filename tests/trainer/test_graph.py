"""The shipped model's graph: small, cheap, and of operators that XNNPACK runs in int8."""

from collections import Counter
from typing import Any

import pytest
from ai_edge_litert.interpreter import Interpreter

from edge_qc.bundle import SHIPPED, load_bundle
from edge_qc_trainer.graph import multiply_adds

QUANTIZED_ON_XNNPACK = {
    *("ADD", "CONCATENATION", "CONV_2D", "DEPTH_TO_SPACE", "DEPTHWISE_CONV_2D", "DEQUANTIZE", "ELU", "FULLY_CONNECTED"),
    *("LEAKY_RELU", "LOGISTIC", "MAX_POOL_2D", "MEAN", "MUL", "PAD", "QUANTIZE", "RESHAPE", "RESIZE_BILINEAR", "SLICE"),
    *("SPACE_TO_DEPTH", "SPLIT", "SUB", "TANH", "TRANSPOSE", "TRANSPOSE_CONV"),
}
"""The section Quantized Operators of tensorflow/lite/delegates/xnnpack/README.md in the TensorFlow repository."""


@pytest.fixture(scope="module")
def model() -> bytes:
    return load_bundle(SHIPPED).model


def operators(model: bytes, *, delegated: bool) -> tuple[list[dict[str, Any]], Interpreter]:
    interpreter = Interpreter(model_content=model, num_threads=1)
    if delegated:
        interpreter.allocate_tensors()
    return interpreter._get_ops_details(), interpreter


def test_every_operator_is_one_that_xnnpack_has_in_int8(model: bytes) -> None:
    names = Counter(op["op_name"] for op in operators(model, delegated=False)[0])
    assert names["CONV_2D"] > 0
    assert set(names) <= QUANTIZED_ON_XNNPACK


def test_every_picture_dependent_tensor_is_int8(model: bytes) -> None:
    ops, interpreter = operators(model, delegated=False)
    types = {tensor["index"]: tensor["dtype"].__name__ for tensor in interpreter.get_tensor_details()}
    assert {types[index] for op in ops for index in op["outputs"]} == {"int8"}


def test_the_runtime_hands_the_whole_graph_to_xnnpack(model: bytes) -> None:
    """One delegate node, which waits for nothing that another node computes and yields the map."""
    ops, interpreter = operators(model, delegated=True)
    delegates = [op for op in ops if op["op_name"] == "DELEGATE"]
    assert len(delegates) == 1
    computed = {index for op in ops if op["op_name"] != "DELEGATE" for index in op["outputs"]}
    assert not computed & set(delegates[0]["inputs"])
    assert {tensor["index"] for tensor in interpreter.get_output_details()} <= set(delegates[0]["outputs"])


def test_the_model_costs_at_most_a_hundred_million_multiply_adds(model: bytes) -> None:
    # The two lower layers alone cost 10 million at least: less would mean that nothing was counted.
    assert 10e6 < multiply_adds(model) <= 100e6


def test_the_model_takes_at_most_300_kilobytes(model: bytes) -> None:
    assert len(model) <= 300_000
