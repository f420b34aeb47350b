"""Clean and robust accuracy of a bundle, under an attack that knows how it answers, judged on the answers as served."""

import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from rich.progress import Progress
from torch import Tensor, nn

from holdfast.attacks.adaptive import AdaptiveAttack
from holdfast.attacks.onnx_embedding import OnnxEmbedding
from holdfast.attacks.pgd import frozen
from holdfast.attacks.quantise import to_pixels
from holdfast.attacks.search.worst_case import AttackOutcome, WorstCaseAttack
from holdfast.attacks.surrogate import surrogate_of
from holdfast.attacks.victim import AnswerFunction, Embed, Victim
from holdfast.bundle.manifest import Accuracy
from holdfast.bundle.reader import Bundle
from holdfast.bundle.threat_model import ThreatModel
from holdfast.data import LabelledImages
from holdfast.errors import ContractMismatchError, HoldfastError
from holdfast.evaluation.sanity.measures import agreement
from holdfast.intervals import Rate
from holdfast.model.choice import Choice, Precision
from holdfast.model.classifier import Classifier
from holdfast.model.encoder.device import CPU, Placement
from holdfast.model.preprocess import Pixels

JUDGED_AT_ONCE = 256
ALIKE = 0.2
"""Share of the spread of some embeddings by which two computations of one encoder may differ: bfloat16 differs by a few
hundredths, another encoder by about 1."""


@dataclass(frozen=True, eq=False)
class Evaluation:
    """What was measured on N test images.

    Attributes:
        threat: what the attacker was allowed.
        attack: what was tried.
        images: uint8 [N, H, W, 3], the clean ones.
        labels: int64 [N], their true classes.
        outcome: per image: served answers clean and attacked, the attacked image, success, and what found it.
        agreement: how often the surrogate at the bundle's temperature gives the served answer, on clean images; a
            surrogate that disagrees is not of this classifier.
        seconds: wall time.
        served_on: where the answers were computed that decided.

    """

    threat: ThreatModel
    attack: str
    images: Pixels
    labels: NDArray[np.int64]
    outcome: AttackOutcome
    agreement: Rate
    seconds: float
    served_on: Placement = CPU

    @property
    def clean(self) -> Rate:
        """Clean images that are answered rightly."""
        return Rate(int(self._right.sum()), len(self.labels))

    @property
    def robust(self) -> Rate:
        """Images that are answered rightly, clean and under every attack tried."""
        return Rate(int((self._right & ~self.outcome.success).sum()), len(self.labels))

    @property
    def dsr(self) -> Rate:
        """Defence success rate: of those answered rightly when clean, the ones that still are under attack."""
        return Rate(self.robust.successes, self.clean.successes)

    @property
    def record(self) -> Accuracy:
        """As the manifest keeps it."""
        return Accuracy(
            clean=self.clean.value,
            robust=self.robust.value,
            norm=self.threat.norm,
            epsilon=self.threat.epsilon,
            attack=self.attack,
            images=len(self.labels),
        )

    @property
    def _right(self) -> NDArray[np.bool_]:
        right: NDArray[np.bool_] = self.outcome.clean_labels == self.labels
        return right


def evaluate(
    directory: Path,
    test: LabelledImages,
    *,
    encoder: nn.Module | None = None,
    threat: ThreatModel | None = None,
    attack: WorstCaseAttack | None = None,
    limit: int | None = None,
    seed: int = 0,
    threads: int = 1,
    serve_on: Choice = "cpu",
    serve_in: Precision = "float32",
    progress: Progress | None = None,
) -> Evaluation:
    """Attack the bundle in `directory` on test images that it was never shown.

    Args:
        directory: a complete bundle.
        test: images that follow its input contract, labelled in its classes.
        encoder: the torch module that the bundle was exported from, pixels -> embeddings not yet normalised: gradients
            then come from it, on its device, which pays on a GPU. Without it they come from gradient.onnx: a bundle is
            all it takes, what is attacked is what is served, and on a CPU it is as quick (.5 ms a gradient for a
            27 MMAC encoder, either way, on one core).
        threat: what the attacker is allowed; by default the bundle's own threat model.
        attack: by default the whole ladder of `AdaptiveAttack`.
        limit: attack only so many test images, drawn by `seed`; all by default.
        seed: of that draw and of the attack.
        threads: of ONNX Runtime; and as many batches are attacked side by side, unless that is done on a GPU.
        serve_on: see `open_served`.
        serve_in: likewise.
        progress: where to show a bar.

    Raises:
        BundleError, DeviceError: see `Bundle.open`.
        ContractMismatchError: `encoder` is another one than the bundle's, or images or classes do not fit it.

    """
    began = time.monotonic()
    bundle = open_served(directory, threads, serve_on, serve_in)
    check_fit(bundle, test)
    test = sample(test, limit, seed)
    classifier, attack = Classifier(bundle), attack or AdaptiveAttack()
    threat = threat or bundle.manifest.threat_model.model()
    with frozen(*([encoder] if encoder is not None else [])):
        victim = victim_of(classifier, encoder, test.images[:16], threads)
        outcome = attack(victim, test.images, test.labels, threat, seed=seed, progress=progress)
        agreed = agreement(victim, test.images, outcome.clean_labels)
    seconds = time.monotonic() - began
    return Evaluation(threat, str(attack), test.images, test.labels, outcome, agreed, seconds, bundle.placement)


def open_served(directory: Path, threads: int, serve_on: Choice, serve_in: Precision) -> Bundle:
    """The bundle whose answers decide what is a success.

    Args:
        directory: a complete bundle.
        threads: of ONNX Runtime.
        serve_on: where encoder and index run, as on a server: "cuda" takes the GPU that a server would, and no CPU in its
            place; "auto" may take the CPU, and the bundle's placement says so. gradient.onnx runs on the CPU in any case.
        serve_in: what a GPU's encoder computes in, as `python -m server --precision`.

    Raises:
        BundleError, DeviceError: see `Bundle.open`.

    """
    return Bundle.open(directory, threads=threads, device=serve_on, max_batch=JUDGED_AT_ONCE, precision=serve_in)


def victim_of(classifier: Classifier, encoder: nn.Module | None, some: Pixels, threads: int = 1) -> Victim:
    """All that a white-box attacker knows of a served classifier: its weights, its whole bank, its labels.

    Args:
        classifier: over an open bundle.
        encoder: see `evaluate`; it must be frozen meanwhile.
        some: uint8 [n, H, W, 3], a few images on which `encoder` is held against the bundle.
        threads: see `Victim`; a GPU takes a batch whole.

    Raises:
        ContractMismatchError: `encoder` does not embed `some` as the bundle does.

    """
    bundle = classifier.bundle
    device = torch.device("cpu") if encoder is None else next(encoder.parameters()).device
    embed = OnnxEmbedding(bundle) if encoder is None else _torch_embedding(encoder)
    with torch.no_grad():
        apart = _apart(embed(to_pixels(some, device)).cpu().numpy(), bundle.encoder.embed(some))
    if apart > ALIKE:
        raise ContractMismatchError(
            f"the torch encoder embeds images {apart:.0%} of their spread away from {bundle.directory}/encoder.onnx: its"
            " gradients would be those of another encoder; give the one that was exported, or none"
        )
    at_once = threads if device.type == "cpu" else 1
    return Victim(embed, surrogate_of(bundle, device), served(classifier), threads=at_once)


def _apart(one: NDArray[np.float32], other: NDArray[np.float32]) -> float:
    """The largest distance between two embeddings of an image, in units of the spread of all of them; both [n, D]."""
    spread = float(np.linalg.norm(other - other.mean(0), axis=1).mean()) if len(other) > 1 else 1.0
    return float(np.linalg.norm(one - other, axis=1).max(initial=0)) / max(spread, 1e-6)


def served(classifier: Classifier) -> AnswerFunction:
    """The labels that a server over this bundle would answer."""

    def answer(images: Pixels) -> NDArray[np.int64]:
        parts = [images[i : i + JUDGED_AT_ONCE] for i in range(0, len(images), JUDGED_AT_ONCE)]
        return np.concatenate([classifier.classify(part).labels for part in parts] or [np.zeros(0, np.int64)])

    return answer


def sample(test: LabelledImages, limit: int | None, seed: int) -> LabelledImages:
    """`limit` of the images, drawn by `seed` and in their old order; all where there are no more than that."""
    return test if limit is None or limit >= len(test) else test.take(drawn(len(test), limit, seed))


def drawn(total: int, limit: int | None, seed: int) -> NDArray[np.int64]:
    """`limit` of the rows 0 to total - 1, drawn by `seed`, ascending; all where there are no more than that."""
    if limit is None or limit >= total:
        return np.arange(total)
    return np.sort(np.random.default_rng(seed).permutation(total)[:limit])


def _torch_embedding(encoder: nn.Module) -> Embed:
    def embed(pixels: Tensor) -> Tensor:
        return F.normalize(encoder(pixels), dim=1)

    return embed


def check_fit(bundle: Bundle, test: LabelledImages) -> None:
    """Refuse test images that the bundle cannot be asked about.

    Raises:
        HoldfastError: there are none.
        ContractMismatchError: they have another size, or other classes.

    """
    if len(test) == 0:
        raise HoldfastError("there are no test images to attack")
    if test.images.shape[1:] != bundle.encoder.contract.shape:
        raise ContractMismatchError(
            f"test images are {test.images.shape[1:]}, the bundle takes {bundle.encoder.contract.shape}"
        )
    if test.class_names != bundle.class_names:
        raise ContractMismatchError(f"test classes {test.class_names} are not the bundle's {bundle.class_names}")
