"""What one request is made of, each part alone on this thread: decoding, and the classifier at a batch of some size."""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from bench.peers.payload import Payload
from holdfast.bundle.reader import Bundle
from holdfast.model.preprocess import decode_image

SECONDS = 0.6
"""Of each part."""


@dataclass(frozen=True)
class Parts:
    """Microseconds an image.

    Attributes:
        decode: CPU.
        classify: CPU, in a batch of `batch`.
        batch: images.
        alone: wall time of decoding one image and classifying it, the median.

    """

    decode: float
    classify: float
    batch: int
    alone: float


def measure_parts(bundle: Bundle, payload: Payload, batch: float) -> Parts:
    """At the mean size of the batches that occurred: what a batch costs grows evenly with its size, so the mean says it all."""
    classifier, contract = bundle.classifier(), bundle.manifest.input
    size = max(1, round(batch))
    images = np.stack([decode_image(each, contract) for each in payload.files[:size]])
    files = iter(payload.files * 1_000_000)

    def answer_one() -> None:
        classifier.classify(decode_image(next(files), contract)[np.newaxis])

    return Parts(
        decode=_cpu_of(lambda: [decode_image(each, contract) for each in payload.files[:64]]) / 64,
        classify=_cpu_of(lambda: classifier.classify(images)) / size,
        batch=size,
        alone=_median_of(answer_one),
    )


def _cpu_of(work: Callable[[], object]) -> float:
    """Microseconds of this thread's CPU."""
    work()
    done, begun, end = 0, time.thread_time(), time.monotonic() + SECONDS
    while time.monotonic() < end:
        work()
        done += 1
    return 1e6 * (time.thread_time() - begun) / done


def _median_of(work: Callable[[], object]) -> float:
    """Microseconds."""
    times, end = [], time.monotonic() + SECONDS
    work()
    while time.monotonic() < end:
        begun = time.perf_counter()
        work()
        times.append(time.perf_counter() - begun)
    return 1e6 * statistics.median(times)
