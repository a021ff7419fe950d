"""What an int8 model costs, read from its graph."""

import numpy as np


def multiply_adds(model: bytes) -> int:
    """Multiply-adds of the convolutions and dense layers of a TFLite model, from the shapes of their tensors."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_content=model)
    interpreter.allocate_tensors()
    shapes = {tensor["index"]: tuple(map(int, tensor["shape"])) for tensor in interpreter.get_tensor_details()}
    total = 0
    for op in interpreter._get_ops_details():  # noqa: SLF001 - the only way to the operators
        if op["op_name"] not in {"CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED"}:
            continue
        kernel, output = shapes[op["inputs"][1]], shapes[op["outputs"][0]]
        each = int(np.prod(kernel[1:3])) if op["op_name"] == "DEPTHWISE_CONV_2D" else int(np.prod(kernel[1:]))
        total += each * int(np.prod(output))
    return total
