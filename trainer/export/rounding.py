"""An encoder whose weights are rounded to float16 after the training, so that its graphs can store them in half of the bytes.

They are float32 numbers as before, of which half of the bits are zero, and are computed with as such. As with whitening, what
was done is kept beside the checkpoint: an evaluation's gradients are those of the encoder that is served.
"""

import copy
import json
from pathlib import Path
from typing import TypeVar

from torch import nn

from holdfast.errors import HoldfastError
from holdfast.files import write_atomically
from holdfast.trainer.encoders import ImageEncoder
from holdfast.trainer.state.checkpoint import as_kept

FILE = Path("checkpoint") / "export.json"

T = TypeVar("T", bound=nn.Module)


def rounded(encoder: T) -> T:
    """A copy with weights rounded as a checkpoint of float16 rounds them: all but vectors, small ones and the too large."""
    twin = copy.deepcopy(encoder)
    twin.load_state_dict(as_kept(twin, "float16"))
    return twin


def save(directory: Path, *, half: bool) -> None:
    """Note beside the checkpoint in `directory` whether weights were rounded."""
    write_atomically(directory / FILE, json.dumps({"weights": "float16" if half else "float32"}).encode())


def load(encoder: ImageEncoder, directory: Path) -> ImageEncoder:
    """The encoder of the checkpoint in `directory`, rounded if it was exported so.

    Raises:
        HoldfastError: the note is damaged.

    """
    path = directory / FILE
    if not path.is_file():
        return encoder  # exported by a version without rounding
    try:
        weights = json.loads(path.read_bytes())["weights"]
    except (ValueError, KeyError, TypeError) as error:
        raise HoldfastError(f"{path} is damaged: {error}; finish the run again with --resume") from error
    return rounded(encoder) if weights == "float16" else encoder
