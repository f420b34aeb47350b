"""A bundle as it is attacked: its served answers decide, and all that a white-box attacker knows of it."""

from collections.abc import Callable, Iterable
from dataclasses import fields
from operator import attrgetter
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from holdfast.attacks.onnx_embedding import OnnxEmbedding
from holdfast.attacks.quantise import to_pixels
from holdfast.attacks.surrogate import surrogate_of
from holdfast.attacks.victim import SERVED_BATCH, Embed, Victim, served
from holdfast.bundle.reader import Bundle
from holdfast.data import LabelledImages
from holdfast.errors import ContractMismatchError, HoldfastError
from holdfast.model.answers import Answers, Neighbours
from holdfast.model.classifier import Classifier
from holdfast.model.device_choice import DeviceChoice, Precision
from holdfast.model.preprocess import Pixels

ALIKE = 0.2
"""Share of the spread of some embeddings by which two computations of one encoder may differ: bfloat16 differs by a few
hundredths, another encoder by about 1."""


def open_served(directory: Path, threads: int, serve_on: DeviceChoice, serve_in: Precision) -> Bundle:
    """The bundle whose answers decide what is a success.

    Args:
        directory: a complete bundle.
        threads: of ONNX Runtime.
        serve_on: where encoder and index run, as on a server: "cuda" takes the GPU that a server would, and no CPU in its
            place; "auto" may take the CPU, and the bundle's placement says so. gradient.onnx runs on the CPU in any case.
        serve_in: what a GPU's encoder computes in, as `holdfast serve --precision`.

    Raises:
        BundleError, DeviceError: see `Bundle.open`.

    """
    return Bundle.open(directory, threads=threads, device=serve_on, max_batch=SERVED_BATCH, precision=serve_in)


def check_fit(bundle: Bundle, test: LabelledImages) -> None:
    """Refuse test images that the bundle cannot be asked about.

    Raises:
        HoldfastError: there are none.
        ContractMismatchError: they have another size, or other classes.

    """
    if len(test) == 0:
        raise HoldfastError(
            "there are no test images to attack: put labelled images that are no exemplars into a part of their own"
            " (DIR/test/CLASS/), and index the set again"
        )
    if test.images.shape[1:] != bundle.encoder.contract.shape:
        raise ContractMismatchError(
            f"test images are {test.images.shape[1:]}, the bundle takes {bundle.encoder.contract.shape}"
        )
    if test.class_names != bundle.class_names:
        raise ContractMismatchError(f"test classes {test.class_names} are not the bundle's {bundle.class_names}")


def victim_of(bundle: Bundle, classifier: Classifier, encoder: nn.Module | None, some: Pixels, threads: int = 1) -> Victim:
    """All that a white-box attacker knows of a served classifier: its weights, its whole bank, its labels.

    Args:
        bundle: open.
        classifier: over it.
        encoder: see `evaluate`; it must be frozen meanwhile.
        some: uint8 [n, H, W, 3], a few images on which `encoder` is compared with the bundle.
        threads: see `Victim`; a GPU takes a batch whole.

    Raises:
        ContractMismatchError: `encoder` does not embed `some` as the bundle does.
        BundleError: the bundle's index cannot export its exemplars.

    """
    device = torch.device("cpu") if encoder is None else next(encoder.parameters()).device
    embed = OnnxEmbedding(bundle) if encoder is None else _torch_embedding(encoder)
    with torch.no_grad():
        distance = _largest_distance(embed(to_pixels(some, device)).cpu().numpy(), bundle.encoder.embed(some))
    if distance > ALIKE:
        raise ContractMismatchError(
            f"the torch encoder embeds images {distance:.0%} of their spread away from {bundle.directory}/encoder.onnx: its"
            " gradients would be those of another encoder; give the one that was exported, or none"
        )
    at_once = threads if device.type == "cpu" else 1
    return Victim(embed, surrogate_of(bundle, device), served(classifier), threads=at_once)


def certified(classifier: Classifier) -> Callable[[Pixels], Answers]:
    """`classify`, with poison tolerance and feature shift of every image, where the index can tell them."""

    def classify(images: Pixels) -> Answers:
        retrieval = classifier.retrieve(images)
        return classifier.certified(retrieval, classifier.decide(retrieval), np.arange(len(images)))

    return classify


def answers_of(classify: Callable[[Pixels], Answers], images: Pixels) -> Answers:
    """All that is served for uint8 [N, H, W, 3] images, N >= 1, a batch at a time."""
    return answers_to_all(classify, [images])


def answers_to_all(classify: Callable[[Pixels], Answers], sets: Iterable[Pixels]) -> Answers:
    """As `answers_of`, one set of images after the other."""
    parts = [classify(images[i : i + SERVED_BATCH]) for images in sets for i in range(0, len(images), SERVED_BATCH)]

    def joined(field: Callable[[Answers], Any]) -> Any:
        return np.concatenate([field(part) for part in parts])

    columns = [field.name for field in fields(Answers) if field.name != "neighbours"]
    return Answers(
        **{name: joined(attrgetter(name)) for name in columns},
        neighbours=Neighbours(
            ids=joined(lambda a: a.neighbours.ids),
            labels=joined(lambda a: a.neighbours.labels),
            similarities=joined(lambda a: a.neighbours.similarities),
        ),
    )


def _largest_distance(one: NDArray[np.float32], other: NDArray[np.float32]) -> float:
    """The largest distance between two embeddings of an image, in units of the spread of all of them; both [n, D]."""
    spread = float(np.linalg.norm(other - other.mean(0), axis=1).mean()) if len(other) > 1 else 1.0
    return float(np.linalg.norm(one - other, axis=1).max(initial=0)) / max(spread, 1e-6)


def _torch_embedding(encoder: nn.Module) -> Embed:
    def embed(pixels: Tensor) -> Tensor:
        return F.normalize(encoder(pixels), dim=1)

    return embed
