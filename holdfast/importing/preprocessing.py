"""From pixels in [0, 1] to what a foreign graph takes, and from what it gives to one vector an image."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from holdfast.importing.errors import EncoderImportError
from holdfast.importing.source import OnnxSource, Sizes
from holdfast.model.images.fitting import Resample
from holdfast.model.preprocess import InputContract, Pixels

Layout = Literal["nchw", "nhwc"]
Channels = Literal["rgb", "bgr"]
Pool = Literal["none", "cls", "mean", "flat"]
Triple = tuple[float, float, float]

RANGES: Mapping[str, tuple[int, Triple | None, Triple | None]] = {
    "NominalRange_0_255": (255, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)),
    "Normalized_0_1": (1, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)),
    "Normalized_1_1": (1, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
}
"""Image.NominalPixelRange of ONNX's metadata: range, mean and std."""

POOLS: Mapping[int, tuple[Pool, ...]] = {1: ("none",), 2: ("cls", "mean", "flat"), 3: ("mean", "flat")}
"""By how many dimensions the features of an image have."""

IMAGENET = "--mean 0.485,0.456,0.406 --std 0.229,0.224,0.225"


@dataclass(frozen=True)
class InputOptions:
    """What a person says of a model's input; None where nothing is said. See `Preprocessing`."""

    size: tuple[int, int] | None = None
    layout: Layout | None = None
    channels: Channels | None = None
    range: int | None = None
    mean: Triple | None = None
    std: Triple | None = None
    resample: Resample | None = None
    shortest: int | None = None


@dataclass(frozen=True)
class Preprocessing:
    """How pixels become a graph's input: (pixels * range - mean) / std.

    Attributes:
        contract: the size of the images, and how others are resized to it.
        layout: of the input.
        channels: their order in the input; mean and std follow it.
        range: 1 or 255: what white is before mean and std.
        mean: of each channel, in units of the range.
        std: of each channel, in units of the range.

    """

    contract: InputContract
    layout: Layout
    channels: Channels
    range: int
    mean: Triple
    std: Triple

    @property
    def shape(self) -> tuple[int, int, int]:
        """Of one image, as the graph takes it."""
        height, width = self.contract.size
        return (3, height, width) if self.layout == "nchw" else (height, width, 3)

    def in_numpy(self, images: Pixels) -> NDArray[np.float32]:
        """The graph's input of uint8 [N, H, W, 3], written anew to hold the exported graph against."""
        pixels = images[..., ::-1] if self.channels == "bgr" else images
        scaled = pixels.astype(np.float64) * (self.range / 255)
        made = ((scaled - np.array(self.mean)) / np.array(self.std)).astype(np.float32)
        return np.ascontiguousarray(made if self.layout == "nhwc" else made.transpose(0, 3, 1, 2))


class ForeignEncoder(nn.Module):
    """A foreign graph with its preprocessing and pooling: float [N, 3, H, W] in [0, 1] -> float [N, D].

    Args:
        graph: float [N, *preprocessing.shape] -> features.
        preprocessing: in front of it.
        pool: what becomes of several vectors an image.
        rank: of the features, the batch not counted: 1 of a vector, 2 of tokens, 3 of maps.

    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, graph: nn.Module, preprocessing: Preprocessing, pool: Pool, rank: int) -> None:
        super().__init__()
        self.network, self.pool, self.rank = graph, pool, rank
        self.turned, self.last = preprocessing.channels == "bgr", preprocessing.layout == "nhwc"
        self.range = preprocessing.range
        self.register_buffer("mean", torch.tensor(preprocessing.mean).reshape(1, 3, 1, 1))
        self.register_buffer("deviation", torch.tensor(preprocessing.std).reshape(1, 3, 1, 1))

    def forward(self, pixels: Tensor) -> Tensor:
        """Embed; not yet of unit length."""
        pixels = pixels.flip(1) if self.turned else pixels
        pixels = (pixels * self.range - self.mean) / self.deviation
        features = self.network(pixels.permute(0, 2, 3, 1).contiguous() if self.last else pixels)
        return pooled(features, self.pool, self.rank)


def pooled(features: Tensor, pool: Pool, rank: int) -> Tensor:
    """One vector an image, of [N, D], tokens [N, T, D] or maps [N, D, h, w]; `rank` is 1, 2 or 3: what is traced has none."""
    if pool == "cls":
        return features[:, 0]
    if pool == "mean":
        return features.mean((2, 3) if rank == 3 else 1)
    return features.flatten(1) if pool == "flat" else features


def choose_pool(sizes: tuple[int, ...], asked: Pool | None, output: str) -> Pool:
    """How one vector comes of features of these sizes an image.

    Raises:
        EncoderImportError: nobody said how, or it cannot be done so.

    """
    shown = f"the output {output!r} is [N, {', '.join(map(str, sizes))}]"
    fitting = POOLS.get(len(sizes), ())
    if not fitting:
        raise EncoderImportError(f"{shown}, which is neither a vector, nor tokens, nor maps; name another one by --output")
    if asked is not None and asked not in fitting:
        raise EncoderImportError(f"{shown}; --pool {asked} is not for that, but {', '.join(fitting)}")
    if asked is None and len(fitting) > 1 and sizes[1:] != (1,) * (len(sizes) - 1):
        kind = "several vectors an image (tokens)" if len(sizes) == 2 else "maps"
        raise EncoderImportError(f"{shown}, {kind}: say how they become one, for instance --pool {fitting[0]}")
    return asked or (fitting[0] if len(fitting) == 1 else "flat")


def preprocessing_of(source: OnnxSource, options: InputOptions) -> Preprocessing:
    """What the file says of its input, and for the rest what a person says.

    Raises:
        EncoderImportError: neither says it, or they contradict each other; the message shows what to add.

    """
    layout = _layout(source, options.layout)
    places = (2, 3) if layout == "nchw" else (1, 2)
    height, width = _size(source, options.size, (source.shape[places[0]], source.shape[places[1]]))
    said = source.metadata.get("Image.BitmapPixelFormat", "").lower()
    channels: Channels = options.channels or ("bgr" if said.startswith("bgr") else "rgb")
    number, mean, std = _scale(source, options)
    try:
        contract = InputContract(height=height, width=width, resample=options.resample or "bilinear", shortest=options.shortest)
    except ValueError:
        crop = "" if options.shortest is None else f", cropped from a shorter side of {options.shortest},"
        raise EncoderImportError(f"images of {height} x {width}{crop} are not served: sides go from 1 to 4096") from None
    return Preprocessing(contract, layout, channels, number, mean, std)


def _layout(source: OnnxSource, asked: Layout | None) -> Layout:
    first, last = source.shape[1], source.shape[3]
    places: tuple[tuple[Layout, int | None], ...] = (("nchw", first), ("nhwc", last))
    possible = [name for name, size in places if size == 3] or [name for name, size in places if size is None]
    shown = f"{source.path} takes {source.input} {shown_sizes(source.shape)}"
    if not possible:
        raise EncoderImportError(f"{shown}, which is not of three colours; only encoders of colour images are served")
    if asked is not None and asked not in possible:
        raise EncoderImportError(f"{shown}, and --layout {asked} would need 3 in another place")
    if asked is None and len(possible) > 1:
        raise EncoderImportError(f"{shown}: say where the colours are, by --layout nchw or --layout nhwc")
    return asked or possible[0]


def _size(source: OnnxSource, asked: tuple[int, int] | None, own: Sizes) -> tuple[int, int]:
    shown = f"{source.path} takes {source.input} {shown_sizes(source.shape)}"
    if asked is not None and any(size not in {None, wanted} for size, wanted in zip(own, asked, strict=True)):
        raise EncoderImportError(f"{shown}, and --size {asked[0]}x{asked[1]} is another size: leave it out")
    found = asked or own
    if found[0] is None or found[1] is None:
        raise EncoderImportError(f"{shown}, of any height and width: say at which it is to be served, for instance --size 224")
    return found[0], found[1]


def _scale(source: OnnxSource, options: InputOptions) -> tuple[int, Triple, Triple]:
    given = (options.range, options.mean, options.std)
    if source.dtype == "uint8":
        if given != (None, None, None):
            raise EncoderImportError(
                f"{source.path} takes uint8, so it scales pixels itself: leave out --range, --mean and --std"
            )
        return 255, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)
    noted = RANGES.get(source.metadata.get("Image.NominalPixelRange", ""), (None, None, None))
    number = options.range or noted[0] or 1
    mean, std = options.mean or noted[1], options.std or noted[2] or (1.0, 1.0, 1.0)
    if mean is None:
        raise EncoderImportError(
            f"{source.path} does not say how pixels are scaled: say it, for instance {IMAGENET} as most models trained on"
            " ImageNet take them, --range 255 --mean 104,117,123 --channels bgr as those of Caffe do, or --mean 0 where the"
            " graph does it itself"
        )
    if number == 1 and max(abs(each) for each in (*mean, *std)) > 1:
        raise EncoderImportError(f"--mean {mean[0]:g} or --std {std[0]:g} is beyond pixels of 0 to 1: say --range 255 as well")
    return number, mean, std


def shown_sizes(sizes: Sizes) -> str:
    """A shape as people write it: [N, 3, 224, 224], with "?" for what is free."""
    return (
        "[" + ", ".join(["N" if sizes[0] is None else str(sizes[0]), *("?" if s is None else str(s) for s in sizes[1:])]) + "]"
    )
