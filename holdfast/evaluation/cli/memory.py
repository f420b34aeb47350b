"""How many images are attacked at once: as many as there is memory for while a gradient is taken."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from holdfast.bundle.reader import GRADIENT
from holdfast.errors import HoldfastError

MOST = 128
SLACK = 1.6
"""What ONNX Runtime takes beyond the values that are alive, since its pool of memory has gaps; 1.6 times was seen at most."""

GIB = 2**30
FLOAT = 4


def images_at_once(bundle: Path, gib: float, most: int = MOST) -> int:
    """How many images a gradient can be taken of, in `gib` GiB; at least 1, at most `most`.

    It depends on gradient.onnx and `gib` alone, so an evaluation that is continued on another machine takes as many.

    Args:
        bundle: directory of a bundle.
        gib: memory for the values of one batch, above 0.
        most: the answer where there is room for more, or no gradient.onnx.

    Raises:
        HoldfastError: gradient.onnx cannot be read.

    """
    path = bundle / GRADIENT
    if not path.is_file():
        return most
    return max(1, min(most, int(gib * GIB / (SLACK * bytes_alive(path)))))


def bytes_alive(path: Path) -> int:
    """Bytes of the values of a graph that are alive at once for one image, at most, in the order in which its nodes stand.

    A value is alive from the node that makes it to the last one that reads it. Weights do not count.

    Raises:
        HoldfastError: `path` is no ONNX graph.

    """
    import onnx  # noqa: PLC0415 - comes with the trainer, and costs a second

    try:
        model = onnx.load(path, load_external_data=False)
        for value in model.graph.input:
            dims = value.type.tensor_type.shape.dim
            if dims and not dims[0].dim_value:
                dims[0].dim_value = 1
        graph = onnx.shape_inference.infer_shapes(model, data_prop=True).graph
    except Exception as error:
        raise HoldfastError(f"{path} cannot be read: {error}") from error
    sizes = {value.name: _bytes_of(value) for value in (*graph.value_info, *graph.output)}
    return _most_alive(graph.node, sizes, {value.name for value in graph.output})


def _most_alive(nodes: Iterable[Any], sizes: dict[str, int], kept: set[str]) -> int:
    nodes = list(nodes)
    last = {name: number for number, node in enumerate(nodes) for name in node.input}
    alive, most = dict[str, int](), 1
    for number, node in enumerate(nodes):
        alive |= {name: sizes.get(name, 0) for name in node.output}
        most = max(most, sum(alive.values()))
        for name in (*node.input, *node.output):
            if last.get(name, -1) <= number and name not in kept:
                alive.pop(name, None)
    return most


def _bytes_of(value: Any) -> int:
    tensor = value.type.tensor_type
    # What is not known counts once: the axes that are known are those of a single image.
    numbers = int(np.prod([dim.dim_value or 1 for dim in tensor.shape.dim], dtype=np.int64))
    return numbers * _WIDTHS.get(tensor.elem_type, FLOAT)


# Of ONNX's types: float, uint8, int8, int32, int64, bool, float16, double, bfloat16.
_WIDTHS = {1: 4, 2: 1, 3: 1, 6: 4, 7: 8, 9: 1, 10: 2, 11: 8, 16: 2}
