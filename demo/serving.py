"""The bundle behind a real server: classify over gRPC, probe, scrape."""

import io
import time
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from bench.harness.server_process import Server
from holdfast.client import Answer, Client
from holdfast.errors import HoldfastError
from holdfast.model.preprocess import Pixels

NEIGHBOURS = 4


@dataclass(frozen=True, slots=True)
class Traffic:
    """What came back over gRPC for N test images and their attacked versions, in the same order."""

    clean: list[Answer]
    attacked: list[Answer]
    seconds: float


def classify(server: Server, clean: Pixels, attacked: Pixels) -> Traffic:
    """Send uint8 [N, H, W, 3] images, clean and attacked, as PNG files.

    Raises:
        HoldfastError: an image was refused.

    """
    started = time.perf_counter()
    with Client(server.address) as client:
        answers = client.classify_many([as_png(image) for image in (*clean, *attacked)], neighbours=NEIGHBOURS)
    seconds = time.perf_counter() - started
    good = [answer for answer in answers if isinstance(answer, Answer)]
    if len(good) < len(answers):
        raise HoldfastError(f"the server refused {len(answers) - len(good)} of {len(answers)} test images")
    return Traffic(good[: len(clean)], good[len(clean) :], seconds)


def as_png(image: Pixels) -> bytes:
    """Encode uint8 [H, W, 3] as PNG, which changes no pixel."""
    file = io.BytesIO()
    Image.fromarray(image).save(file, "PNG")
    return file.getvalue()


def labels_of(answers: list[Answer]) -> NDArray[np.int64]:
    """int64 [N], what was answered."""
    return np.array([answer.index for answer in answers], dtype=np.int64)


def wait_for_probes(server: Server, at_least: int, seconds: float) -> None:
    """Give the server's prober time for `at_least` probes; a busy machine may get to fewer."""
    end = time.monotonic() + seconds
    while time.monotonic() < end and sum(probes(server).values()) < at_least:
        time.sleep(0.2)


def probes(server: Server) -> dict[str, float]:
    """How many probes ended, by "attack outcome"."""
    counts: dict[str, float] = {}
    for sample in server.samples():
        if sample.name == "holdfast_probe_total":
            key = f"{sample.labels['attack']} {sample.labels['outcome']}"
            counts[key] = counts.get(key, 0) + sample.value
    return counts
