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
        embeddings: Floats = self._session.run(None, {"images": images})[0]
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
        inputs = {"pixels": np.ascontiguousarray(pixels), "cotangents": np.ascontiguousarray(cotangents)}
        gradients: Floats = self._session.run(None, inputs)[0]
        return gradients


def _only(values: Sequence[Any], path: Path) -> Any:
    if len(values) != 1:
        raise ContractMismatchError(f"{path} has {len(values)} inputs or outputs; an encoder has one of each")
    return values[0]


def _is_batch(shape: Sequence[Any], rank: int) -> bool:
    """Rank as wanted, a symbolic (dynamic) batch, all else fixed."""
    return len(shape) == rank and not isinstance(shape[0], int) and all(isinstance(side, int) for side in shape[1:])
