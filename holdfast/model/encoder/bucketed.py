"""The encoder in a few fixed batch shapes, each with buffers of its own on the device."""

import threading
from pathlib import Path
from typing import Any

import numpy as np

from holdfast.errors import DeviceError
from holdfast.model.encoder.device import Device
from holdfast.model.encoder.onnx import Floats, OnnxEncoder
from holdfast.model.encoder.onnx_runtime import onnxruntime as ort
from holdfast.model.preprocess import InputContract, Pixels


class BucketedEncoder(OnnxEncoder):
    """`encoder.onnx` for a GPU, where every new batch shape costs a search for kernels and memory for their results.

    A batch is padded to the next of a few sizes (the buckets), and one that is larger than the largest is split. All are run
    once before the constructor returns, so that no image ever waits for one. Answers do not depend on the padding: an
    encoder treats the images of a batch one by one.

    A session has one stream and a bucket one pair of buffers, so one thread at a time may use them. The server's engine
    thread is nearly always alone; the prober and side-by-side threads of an evaluation wait for their turn at a lock, bucket
    by bucket.

    Raises:
        ContractMismatchError: as OnnxEncoder.
        DeviceError: the GPU cannot load or run the graph, most often for want of memory.

    """

    def __init__(self, path: Path, *, threads: int = 1, device: Device = "cuda", max_batch: int = 64) -> None:
        super().__init__(path, threads=threads, device=device)
        self._lock = threading.Lock()
        try:
            self._buckets = [Bucket(self._session, size, self.contract, self.dim, device) for size in sizes_up_to(max_batch)]
            self.warm()
        except Exception as error:  # noqa: BLE001 - ONNX Runtime's exceptions share no public base class
            raise DeviceError(
                f"{path} fails on {device} in batches of up to {max_batch} images: {error}; where memory is short, take smaller"
                " ones (--max-batch of the server, --batch-size of the index builder)"
            ) from None

    @property
    def buckets(self) -> tuple[int, ...]:
        """Batch sizes that the graph is run at, the smallest first."""
        return tuple(bucket.size for bucket in self._buckets)

    def warm(self) -> None:
        """Run every bucket once, the largest first: what it leaves in the memory arena has room for the others."""
        for size in reversed(self.buckets):
            self.embed(np.zeros((size, *self.contract.shape), dtype=np.uint8))

    def _run(self, images: Pixels) -> Floats:
        largest = self._buckets[-1].size
        return np.concatenate([self._run_bucket(images[i : i + largest]) for i in range(0, len(images), largest)])

    def _run_bucket(self, images: Pixels) -> Floats:
        bucket = next(bucket for bucket in self._buckets if bucket.size >= len(images))
        with self._lock:
            return bucket.run(images)


def sizes_up_to(max_batch: int) -> list[int]:
    """Powers of two below `max_batch` (at least 1), and `max_batch` itself: a full batch is never padded."""
    return [1 << exponent for exponent in range((max_batch - 1).bit_length())] + [max_batch]


class Bucket:
    """Buffers of one batch size, bound to a session once and for all: nothing is allocated while images wait."""

    def __init__(self, session: Any, size: int, contract: InputContract, dim: int, device: Device) -> None:
        self.size, self._session = size, session
        self._padded = np.zeros((size, *contract.shape), dtype=np.uint8)
        self._images = ort.OrtValue.ortvalue_from_shape_and_type(self._padded.shape, np.uint8, device, 0)
        self._embeddings = ort.OrtValue.ortvalue_from_shape_and_type((size, dim), np.float32, device, 0)
        self._binding = session.io_binding()
        self._binding.bind_ortvalue_input("images", self._images)
        self._binding.bind_ortvalue_output(session.get_outputs()[0].name, self._embeddings)

    def run(self, images: Pixels) -> Floats:
        """Embed uint8 [n, H, W, C], contiguous, 1 <= n <= size. One thread at a time."""
        count = len(images)
        if count < self.size:
            self._padded[:count] = images
            self._padded[count:] = 0
            images = self._padded
        self._images.update_inplace(images)
        self._session.run_with_iobinding(self._binding)
        # On the CPU this is a view of the buffer, which the next batch overwrites.
        embeddings: Floats = self._embeddings.numpy()[:count].copy()
        return embeddings
