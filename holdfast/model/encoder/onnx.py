"""The encoder and its gradient, on ONNX Runtime."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from holdfast.errors import ContractMismatchError
from holdfast.model.encoder.device import Device
from holdfast.model.encoder.session import open_session
from holdfast.model.preprocess import InputContract, Pixels

Floats = NDArray[np.float32]

FORWARD_PIXELS, BACKWARD_PIXELS = 2**22, 2**18
"""Pixels that a CPU's session is given at once, so that the memory of a call does not grow with its batch: of 224 x 224, 83
images are embedded at once, and gradients taken of 5. Of 20 at once, a gradient took no less time."""


class Encoder(Protocol):
    """uint8 [N, H, W, C] -> L2-normalised float32 [N, D]."""

    @property
    def contract(self) -> InputContract:
        """What it takes."""

    @property
    def dim(self) -> int:
        """Embedding dimension D."""

    def embed(self, images: Pixels) -> Floats:
        """Embed a batch."""


class OnnxEncoder:
    """`encoder.onnx`: input "images" uint8 [N, H, W, C], output "embeddings" float32 [N, D], L2-normalised.

    Raises:
        ContractMismatchError: the graph's input or output is another one.

    """

    def __init__(self, path: Path, *, threads: int = 1, device: Device = "cpu") -> None:
        self._session = open_session(path, threads=threads, device=device)
        images, embeddings = _only(self._session.get_inputs(), path), _only(self._session.get_outputs(), path)
        shape = images.shape
        if images.name != "images" or images.type != "tensor(uint8)" or not _is_batch(shape, 4) or shape[3] != 3:
            raise ContractMismatchError(
                f"{path} takes {images.name} {images.type} {shape}; holdfast serves encoders that take"
                " images tensor(uint8) [N, height, width, 3]"
            )
        if embeddings.type != "tensor(float)" or not _is_batch(embeddings.shape, 2):
            raise ContractMismatchError(f"{path} returns {embeddings.type} {embeddings.shape}; expected float [N, D]")
        self.contract = InputContract(height=shape[1], width=shape[2])
        self.dim: int = embeddings.shape[1]

    def embed(self, images: Pixels) -> Floats:
        """Embed a batch. Shape: uint8 [N, H, W, C] -> float32 [N, D], L2-normalised. N may be 0.

        Raises:
            ContractMismatchError: another shape or dtype.

        """
        if images.ndim != 4 or images.shape[1:] != self.contract.shape or images.dtype != np.uint8:
            raise ContractMismatchError(
                f"a batch of {images.dtype} {list(images.shape)}; the encoder takes uint8 [N, *{list(self.contract.shape)}]"
            )
        if len(images) == 0:
            return np.zeros((0, self.dim), dtype=np.float32)
        return self._run(np.ascontiguousarray(images))

    def _run(self, images: Pixels) -> Floats:
        """Embed a contiguous batch that follows the contract, of at least one image."""
        found = [self._session.run(None, {"images": images[part]})[0] for part in _parts(images.shape, FORWARD_PIXELS)]
        embeddings: Floats = found[0] if len(found) == 1 else np.concatenate(found)
        return embeddings


class OnnxGradient:
    """`gradient.onnx`: the vector-Jacobian product of the encoder, for white-box probes without torch."""

    def __init__(self, path: Path, *, threads: int = 1, device: Device = "cpu") -> None:
        self._session = open_session(path, threads=threads, device=device)
        names = [i.name for i in self._session.get_inputs()]
        if sorted(names) != ["cotangents", "pixels"]:
            raise ContractMismatchError(f"{path} takes {names}; a gradient graph takes pixels and cotangents")
        shapes = {i.name: i.shape for i in self._session.get_inputs()}
        self.shape = tuple(shapes["pixels"][1:])
        self.dim: int = shapes["cotangents"][1]

    def vjp(self, pixels: Floats, cotangents: Floats) -> Floats:
        """Gradient of <encoder(pixels), cotangents> with respect to the pixels.

        Shape: float32 [N, H, W, C] in [0, 1], float32 [N, D] -> float32 [N, H, W, C].
        """
        if len(pixels) == 0:
            return np.zeros_like(pixels)
        pixels, cotangents = np.ascontiguousarray(pixels), np.ascontiguousarray(cotangents)
        found = [
            self._session.run(None, {"pixels": pixels[part], "cotangents": cotangents[part]})[0]
            for part in _parts(pixels.shape, BACKWARD_PIXELS)
        ]
        gradients: Floats = found[0] if len(found) == 1 else np.concatenate(found)
        return gradients


def _parts(shape: tuple[int, ...], pixels: int) -> list[slice]:
    """Images [N, H, W, C] in parts of at most so many pixels, at least one image each."""
    count, height, width = shape[:3]
    size = max(1, pixels // (height * width))
    return [slice(start, start + size) for start in range(0, count, size)]


def _only(values: Sequence[Any], path: Path) -> Any:
    if len(values) != 1:
        raise ContractMismatchError(f"{path} has {len(values)} inputs or outputs; an encoder has one of each")
    return values[0]


def _is_batch(shape: Sequence[Any], rank: int) -> bool:
    """Rank as wanted, a symbolic (dynamic) batch, all else fixed."""
    return len(shape) == rank and not isinstance(shape[0], int) and all(isinstance(side, int) for side in shape[1:])
