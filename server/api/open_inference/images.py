"""From the tensors of a request to the images that the core takes."""

from collections.abc import Sequence

from holdfast.server.api.open_inference.tensors import BYTES, InputTensor, count_of, shown, split_bytes
from holdfast.server.core.errors import RequestError
from holdfast.server.core.request import RawImage, Source

INPUT = "image"
UINT8 = "UINT8"


def check_input(inputs: Sequence[InputTensor], most: int) -> InputTensor:
    """The one tensor of a request, its values not yet looked at; its first side counts images.

    Args:
        inputs: one tensor, "image": BYTES [N] or [N, 1] of PNG, JPEG or WebP files, or UINT8 [N, H, W, 1] or [N, H, W, 3] of
            pixels.
        most: images in one call.

    Raises:
        RequestError: names the tensor's field.

    """
    if len(inputs) != 1:
        raise RequestError("inputs", f'has {len(inputs)} tensors; send one, "{INPUT}"')
    (tensor,) = inputs
    if tensor.name != INPUT:
        raise RequestError(f"{tensor.field}.name", f'is {shown(tensor.name)}; the model takes "{INPUT}"')
    if tensor.datatype not in {BYTES, UINT8}:
        raise RequestError(f"{tensor.field}.datatype", f"is {shown(tensor.datatype)}; send BYTES (files) or UINT8 (pixels)")
    count_of(tensor)
    shape, where = tensor.shape, f"{tensor.field}.shape"
    if tensor.datatype == BYTES and (len(shape) not in {1, 2} or shape[1:] not in {(), (1,)}):
        raise RequestError(where, f"is {list(shape)}; files are BYTES [N] or [N, 1]")
    if tensor.datatype == UINT8 and (len(shape) != 4 or shape[3] not in {1, 3} or not (shape[1] and shape[2])):
        raise RequestError(
            where, f"is {list(shape)}; pixels are UINT8 [N, H, W, 3], or [N, H, W, 1] of grey ones, with sides of 1 or more"
        )
    if not 1 <= shape[0] <= most:
        raise RequestError(where, f"has {shape[0]} images; send 1 to {most}")
    return tensor


def sources_of(tensor: InputTensor) -> list[Source]:
    """The images of a tensor that `check_input` has let through. Raises RequestError where its values do not fit its shape."""
    count, shape, values = count_of(tensor), tensor.shape, tensor.values
    if tensor.datatype == BYTES:
        return list(split_bytes(tensor, count))
    if not isinstance(values, bytes):
        raise RequestError(tensor.field, "has elements of BYTES, and is UINT8")
    if len(values) != count:
        raise RequestError(tensor.field, f"has {len(values)} values; a shape of {list(shape)} needs {count}")
    size = count // shape[0]
    return [RawImage(values[start : start + size], shape[1:], "uint8") for start in range(0, count, size)]
