"""A pass over an encoder's graph that lets CPUs compute its convolutions in int8: static quantisation by ONNX Runtime.

Weights are int8, a scale for each output channel; activations uint8, a scale for each tensor, taken from what real images
make of it. The first convolution stays as it is, since its input has a step of 1/255 already and it costs little, and so does
all that comes after the last pooling: rounded, these moved embeddings most (see docs/tried.md).
"""

import contextlib
import io
import logging
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path

import onnx
from onnx import ModelProto, shape_inference

from holdfast.model.preprocess import Pixels
from holdfast.trainer.export.parity import ExportError

BATCH = 50
PERCENTILE = 99.999
"""Of an activation's values, what its scale reaches; the few beyond are clipped."""


class _Reader:
    """Hands real images to the calibration, batch by batch."""

    def __init__(self, images: Pixels) -> None:
        self._batches = iter([images[start : start + BATCH] for start in range(0, len(images), BATCH)])

    def get_next(self) -> dict[str, Pixels] | None:
        """The next batch as the graph's inputs; None at the end."""
        batch = next(self._batches, None)
        return None if batch is None else {"images": batch}


def in_int8(encoder: Path, images: Pixels) -> ModelProto:
    """The graph of an encoder with its convolutions in int8. The file itself is left as it is.

    Args:
        encoder: an encoder.onnx of float32.
        images: uint8 [n, H, W, 3], real ones, some hundreds.

    Raises:
        ExportError: there is no convolution that int8 would make cheaper, or it is in int8 already.

    """
    # Imported here: it takes a second. It finds ONNX Runtime loaded already, by holdfast.model.encoder.
    from onnxruntime.quantization import (  # noqa: PLC0415, TID251
        CalibrationMethod,
        QuantFormat,
        QuantType,
        quantize_static,
    )
    from onnxruntime.quantization.shape_inference import quant_pre_process  # noqa: PLC0415, TID251

    with tempfile.TemporaryDirectory(prefix="holdfast-int8-") as name, _quiet():
        whole, plain, rounded = (Path(name) / f"{each}.onnx" for each in ("whole", "plain", "int8"))
        onnx.save(onnx.load(encoder), whole)  # its weights may lie in a file of their own
        quant_pre_process(whole, plain, skip_symbolic_shape=True)
        chosen = convolutions_worth_it(onnx.load(plain))
        if not chosen:
            raise ExportError(f"{encoder} has no convolutions of float32 that int8 would make cheaper")
        quantize_static(
            plain,
            rounded,
            _Reader(images),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            calibrate_method=CalibrationMethod.Percentile,
            nodes_to_quantize=chosen,
            extra_options={"CalibPercentile": PERCENTILE},
        )
        return onnx.load(rounded)


def convolutions_worth_it(model: ModelProto) -> list[str]:
    """Names of the convolutions over more than one place, but for the first of all; none of those in int8 already."""
    inferred = shape_inference.infer_shapes(model).graph
    shapes = {value.name: [each.dim_value for each in value.type.tensor_type.shape.dim] for value in inferred.value_info}
    rounded = {output for node in inferred.node if node.op_type == "DequantizeLinear" for output in node.output}
    convolutions = [node for node in inferred.node if node.op_type == "Conv"]
    return [
        node.name
        for node in convolutions[1:]
        if not set(node.input) & rounded and max(shapes.get(node.output[0], [0, 0, 2])[2:], default=1) > 1
    ]


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Suppress what ONNX Runtime prints and logs of its progress."""
    root = logging.getLogger()
    level = root.level
    root.setLevel(logging.ERROR)
    try:
        with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        root.setLevel(level)
