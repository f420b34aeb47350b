"""What a foreign model itself makes of images, on ONNX Runtime: what its bundle's encoder is held against."""

import tempfile
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, ValueInfoProto

from holdfast.importing.errors import EncoderImportError
from holdfast.importing.large_models import write_model
from holdfast.importing.preprocessing import Pool, Preprocessing
from holdfast.importing.source import OnnxSource
from holdfast.model.encoder.session import open_session
from holdfast.model.preprocess import Pixels

Floats = NDArray[np.float32]

AT_ONCE = 8


class SourceModel:
    """The model as it came, up to one of its values. To be closed: a copy of the file lies in a temporary folder.

    Args:
        source: the model.
        output: the value that is wanted.
        preprocessing: in front of it.
        pool: behind it.

    Raises:
        EncoderImportError: ONNX Runtime cannot run it.

    """

    def __init__(self, source: OnnxSource, output: str, preprocessing: Preprocessing, pool: Pool) -> None:
        self._input, self._output, self._batch = source.input, output, source.batch
        self._dtype, self._preprocessing, self._pool = source.dtype, preprocessing, pool
        self._folder = tempfile.TemporaryDirectory(prefix="holdfast-import-")
        model = ModelProto()
        model.CopyFrom(source.model)
        del model.graph.output[:]
        model.graph.output.append(ValueInfoProto(name=output))
        path = Path(self._folder.name) / "source.onnx"
        write_model(model, path)
        self._session: Any = open_session(path)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._folder.cleanup()

    def embed(self, images: Pixels) -> Floats:
        """Embed. Shape: uint8 [N, H, W, 3] -> float32 [N, D], of unit length."""
        step, found = self._batch or AT_ONCE, []
        for start in range(0, len(images), step):
            part = images[start : start + step]
            rows = np.resize(part, (step, *part.shape[1:])) if self._batch else part
            found.append(self._run(rows)[: len(part)])
        features = self._pooled(np.concatenate(found)).astype(np.float64)
        lengths = np.linalg.norm(features, axis=1, keepdims=True)
        unit: Floats = (features / np.maximum(lengths, 1e-12)).astype(np.float32)
        return unit

    def _run(self, images: Pixels) -> Floats:
        made = self._preprocessing.in_numpy(images)
        given = np.rint(made).astype(np.uint8) if self._dtype == "uint8" else made.astype(self._dtype)
        try:
            features: Floats = self._session.run([self._output], {self._input: given})[0]
        except Exception as error:  # noqa: BLE001 - ONNX Runtime's exceptions share no public base class
            reason = str(error).splitlines()[0]
            raise EncoderImportError(f"ONNX Runtime cannot run the model on images {list(given.shape)}: {reason}") from None
        return features

    def _pooled(self, features: Floats) -> Floats:
        if self._pool == "cls":
            return features[:, 0]
        if self._pool == "mean":
            averaged: Floats = features.mean(axis=(2, 3) if features.ndim == 4 else 1)
            return averaged
        return features.reshape(len(features), -1)
