"""An encoder as a checkpoint records it: the name and the fields of its configuration, and its weights."""

from typing import Any, get_args

from torch import Tensor

from holdfast.trainer.encoders import EncoderConfig, ImageEncoder, build_encoder


def recorded_encoder(record: dict[str, Any], tensors: dict[str, Tensor]) -> ImageEncoder:
    """The encoder on the CPU, in evaluation mode, frozen.

    Args:
        record: the fields of its configuration, and its class as "type".
        tensors: its state by name.

    Raises:
        KeyError, TypeError: holdfast knows no such encoder, or not such fields.
        RuntimeError: the weights are of another one.

    """
    fields = dict(record)
    kind = {kind.__name__: kind for kind in get_args(EncoderConfig)}[fields.pop("type")]
    encoder = build_encoder(kind(**fields))
    encoder.load_state_dict(tensors)
    return encoder.eval().requires_grad_(requires_grad=False)
