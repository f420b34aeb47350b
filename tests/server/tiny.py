"""A tiny real bundle that tells three colours apart, and images to send."""

import io
from pathlib import Path
from typing import Any

from PIL import Image

from holdfast.model.preprocess import InputContract
from holdfast.protos.holdfast.v1 import image_pb2
from tests import bundles
from tests.bundles import COLOURS, Pixels, coloured

__all__ = ["COLOURS", "CONTRACT", "DIM", "SIDE", "K", "Pixels", "coloured", "png", "raw", "write_bundle"]

SIDE, DIM, K = 16, 8, 5
CONTRACT = InputContract(height=SIDE, width=SIDE)


def png(image: Pixels, kind: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, kind)
    return buffer.getvalue()


def raw(image: Pixels) -> image_pb2.Image:
    message = image_pb2.RawImage(data=image.tobytes(), shape=image.shape, dtype=image_pb2.DATA_TYPE_UINT8)
    return image_pb2.Image(raw=message)


def write_bundle(directory: Path, **options: Any) -> None:
    bundles.write_coloured_bundle(directory, side=SIDE, dim=DIM, disagreement=0.05, **options)
