"""A pass over an ONNX graph that stores weights in half of the bytes without changing a number that it computes.

What float16 holds exactly becomes a float16 initialiser and a Cast to float32 behind it. ONNX Runtime folds the Cast when it
loads the graph, so it computes in float32 as before. To store most weights so, round them first
(see rounding.py): then torch and the graph compute the same.
"""

from typing import Any

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from holdfast.trainer.tensors.compact import SMALL

SUFFIX = ".float16"


def halve(model: ModelProto) -> int:
    """Store large float32 initialisers of `model`, in place, as float16 where that loses nothing.

    Args:
        model: with its weights inside; those of fewer than `SMALL` numbers stay float32.

    Returns:
        The number of bytes saved.

    """
    kept: list[Any] = []
    casts: list[NodeProto] = []
    saved = 0
    for tensor in model.graph.initializer:
        half = _halved(tensor)
        if half is None:
            kept.append(tensor)
            continue
        kept.append(numpy_helper.from_array(half, tensor.name + SUFFIX))
        casts.append(
            helper.make_node("Cast", [tensor.name + SUFFIX], [tensor.name], tensor.name + ".cast", to=TensorProto.FLOAT)
        )
        saved += half.nbytes
    nodes = [*casts, *model.graph.node]  # in the order in which they can be computed
    del model.graph.initializer[:], model.graph.node[:]
    model.graph.initializer.extend(kept)
    model.graph.node.extend(nodes)
    return saved


def _halved(tensor: TensorProto) -> Any:
    if tensor.data_type != TensorProto.FLOAT or np.prod(tensor.dims) < SMALL:
        return None
    values = numpy_helper.to_array(tensor)
    with np.errstate(over="ignore"):  # too large for float16 is not held by it
        half = values.astype(np.float16)
    return half if np.array_equal(half.astype(np.float32), values) else None
