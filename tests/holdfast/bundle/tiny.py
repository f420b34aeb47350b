"""A tiny real bundle: a random linear encoder, an index of 40 random exemplars in two classes."""

from pathlib import Path
from typing import Any

import numpy as np
from onnx import TensorProto

from holdfast.bundle.manifest import Manifest
from tests import bundles
from tests.bundles import Linear, saving

SIDE, DIM = 8, 6
CLASSES = ("dark", "light")


def linear(side: int = SIDE, dim: int = DIM, weights: type = np.float32) -> Linear:
    """The encoder, its weights rounded to that type."""
    encoder = Linear.random(side, dim)
    return Linear(encoder.weights.astype(weights).astype(np.float32), side)


def write_encoder(
    path: Path, side: int = SIDE, dim: int = DIM, dtype: int = TensorProto.UINT8, weights: type = np.float32
) -> None:
    saving(linear(side, dim, weights).encoder(dtype))(path)


def manifest(**changes: Any) -> Manifest:
    return bundles.manifest(SIDE, DIM, CLASSES, **changes)


def images_of(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, size=(count, SIDE, SIDE, 3), dtype=np.uint8)


def write_bundle(directory: Path, **options: Any) -> Path:
    options = {"exemplars": (images_of(40), np.arange(40) % 2), "gradient": False} | options
    return bundles.write_bundle(directory, linear(), CLASSES, **options)
