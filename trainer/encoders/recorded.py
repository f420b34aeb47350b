"""An encoder as a checkpoint records it: the name and the fields of its configuration, and its weights."""

from pathlib import Path
from typing import Any, get_args

from torch import Tensor

from holdfast.trainer.encoders import EncoderConfig, GraphConfig, ImageEncoder, build_encoder

SOURCE = Path("checkpoint") / "source.onnx"
"""In a run's directory: the graph that it began with, where it hardened an encoder that existed."""


def recorded_encoder(record: dict[str, Any], tensors: dict[str, Tensor], directory: Path) -> ImageEncoder:
    """The encoder as it is exported: on the CPU, in evaluation mode, frozen.

    Args:
        record: the fields of its configuration, and its class as "type".
        tensors: its state by name.
        directory: of the run, which may have been moved.

    Raises:
        KeyError, TypeError: holdfast knows no such encoder, or not such fields.
        HoldfastError, OSError: the graph that it began with is not there, or another one.
        RuntimeError: the weights are of another one.

    """
    fields = dict(record)
    kind = {kind.__name__: kind for kind in get_args(EncoderConfig)}[fields.pop("type")]
    if kind is GraphConfig:
        beside = directory / SOURCE
        fields["graph"] = beside if beside.is_file() else Path(fields["graph"])
    encoder = build_encoder(kind(**fields))
    encoder.load_state_dict(tensors)
    return encoder.exported().eval().requires_grad_(requires_grad=False)
