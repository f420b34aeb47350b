"""Whether an encoder on a GPU answers as the one on the CPU does, looked at before anybody is served."""

import numpy as np
from numpy.typing import NDArray

from holdfast.errors import DeviceError
from holdfast.model.device_choice import Precision
from holdfast.model.encoder.onnx import Encoder, Floats
from holdfast.model.preprocess import InputContract, Pixels

FLOAT16_TOLERANCE = 5e-5
"""Of an encoder in float16: cosine distance of each image's embedding to float32's. Where the embeddings of all of CIFAR-10's
test images are moved as far in random directions, 10 of the 10,000 labels of bundles/cifar10-small change."""

# float32 sums differ in their last digits, and convolutions by Winograd's transform in a few more. Factors of ten bits, as
# TF32's, must not pass: emulated, float16's moved the images of bundles/cifar10-small by 4e-7 in the median, 2e-6 at most.
TOLERANCES: dict[Precision, float] = {"float32": 1e-7, "float16": FLOAT16_TOLERANCE}

PICTURES = 16
TILE = 4


def refuse_disagreement(encoder: Encoder, exact: Encoder, precision: Precision) -> None:
    """Embed the same pictures with both.

    What a graph was checked for when it was exported says nothing of kernels that are chosen on the GPU at hand: ones that
    add up in less than float32, or that transform what they multiply.

    Args:
        encoder: on the GPU.
        exact: the float32 graph on the CPU.
        precision: what `encoder` computes in.

    Raises:
        DeviceError: an embedding lies farther away than the precision explains.

    """
    images = pictures(exact.contract)
    farthest = float(cosine_distance(encoder.embed(images), exact.embed(images)).max())
    allowed = TOLERANCES[precision]
    if not farthest <= allowed:  # and not the other way round: NaN is a disagreement too
        remedy = "open the bundle in float32" if precision == "float16" else "see whether its driver is sound, or use the CPU"
        raise DeviceError(
            f"in {precision} the GPU moves embeddings by a cosine distance of {farthest:.1e} from the CPU's, {allowed:.0e} is"
            f" allowed: {remedy}"
        )


def cosine_distance(ours: Floats, expected: Floats) -> NDArray[np.float64]:
    """1 - <a, b> of unit vectors, as half of the square of a - b: that does not drown in float32's own rounding.

    Shape: [N, D], [N, D] -> [N].
    """
    difference = ours.astype(np.float64) - expected
    distance: NDArray[np.float64] = (difference**2).sum(axis=1) / 2
    return distance


def pictures(contract: InputContract) -> Pixels:
    """Half of them noise, half of them coloured tiles, which are nearer to photographs; always the same ones."""
    random = np.random.default_rng(0)
    height, width, channels = contract.shape
    noise = random.integers(0, 256, (PICTURES // 2, height, width, channels), dtype=np.uint8)
    small = random.integers(0, 256, (PICTURES // 2, -(-height // TILE), -(-width // TILE), channels), dtype=np.uint8)
    tiles = small.repeat(TILE, axis=1).repeat(TILE, axis=2)[:, :height, :width]
    return np.concatenate([noise, tiles])
