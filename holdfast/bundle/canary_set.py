"""A few images with the answers that a bundle gave when it was built: whoever loads it later can see that it still does.

Test images and copies of them that were attacked, with their true labels. They are too few to measure accuracy, and enough to
notice an encoder, an index or a machine that does not answer as the one did that wrote the bundle.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self, cast

import numpy as np

from holdfast.bundle.threat_model import Norm, ThreatModel
from holdfast.errors import BundleError, ContractMismatchError
from holdfast.model.answers import Floats, Ints
from holdfast.model.classifier import Classifier
from holdfast.model.npz import UNREADABLE, open_npz
from holdfast.model.preprocess import Pixels


@dataclass(frozen=True, slots=True)
class CanarySet:
    """n images, and the answers to them and to their attacked copies.

    Attributes:
        images: uint8 [n, H, W, 3], as the encoder takes them.
        attacked: uint8 [n, H, W, 3], the same within `threat`; [0, H, W, 3] where they were not attacked.
        labels: int64 [n], their true classes.
        class_names: by label.
        threat: the ball that attacked copies lie in.
        embeddings: float32 [n, D], of the images, as they were when this was recorded.
        answers: int64 [n], the labels that were answered.
        attacked_answers: int64, as many as there are attacked copies.

    """

    images: Pixels
    attacked: Pixels
    labels: Ints
    class_names: tuple[str, ...]
    threat: ThreatModel
    embeddings: Floats
    answers: Ints
    attacked_answers: Ints

    def __post_init__(self) -> None:
        counts = {len(self.images), len(self.labels), len(self.embeddings), len(self.answers)}
        attacked = {len(self.attacked), len(self.attacked_answers)}
        if len(counts) > 1 or len(attacked) > 1 or not attacked <= {0, len(self.images)} or 0 in counts:
            raise BundleError(f"a canary's columns do not match: {sorted(counts)} images, {sorted(attacked)} attacked")
        if self.images.shape[1:] != self.attacked.shape[1:]:
            raise BundleError("a canary's attacked images have another shape than its images")

    def __len__(self) -> int:
        return len(self.images)

    @property
    def clean_accuracy(self) -> float:
        """Share of the images that were answered rightly."""
        return float(np.mean(self.answers == self.labels))

    @property
    def robust_accuracy(self) -> float | None:
        """Share of the attacked copies that were; None where there are none."""
        return float(np.mean(self.attacked_answers == self.labels)) if len(self.attacked) else None

    @classmethod
    def recorded(
        cls,
        classifier: Classifier,
        images: Pixels,
        labels: Ints,
        *,
        attacked: Pixels | None,
        class_names: tuple[str, ...],
        threat: ThreatModel,
    ) -> Self:
        """Images with the answers that `classifier` gives now. Arguments as the attributes; `attacked` may be none."""
        clean = classifier.classify(images)
        copies = images[:0] if attacked is None else attacked
        answered = classifier.classify(copies).labels if len(copies) else clean.labels[:0]
        return cls(images, copies, labels, class_names, threat, clean.embeddings, clean.labels, answered)

    def recorded_again(
        self, classifier: Classifier, class_names: tuple[str, ...] | None = None, labels: Ints | None = None
    ) -> Self:
        """The same images with the answers of another index over the same encoder.

        Args:
            classifier: over that index.
            class_names: of that index, by label, where they are others.
            labels: int64 [n], the true classes among them, where they are others.

        """
        names, labels = class_names or self.class_names, self.labels if labels is None else labels
        clean = classifier.classify(self.images)
        answered = classifier.classify(self.attacked).labels if len(self.attacked) else self.attacked_answers
        return replace(
            self, class_names=names, labels=labels, embeddings=clean.embeddings, answers=clean.labels, attacked_answers=answered
        )

    def refuse_misfit(self, shape: tuple[int, ...], where: Path) -> None:
        """Raises ContractMismatchError where the images are not of the encoder's shape (H, W, 3)."""
        if self.images.shape[1:] != shape:
            raise ContractMismatchError(f"{where} holds images of {self.images.shape[1:]}, the encoder takes {shape}")

    def save(self, path: Path) -> None:
        """Write it as .npz, which holds no pickles."""
        columns = {
            "images": self.images,
            "attacked": self.attacked,
            "labels": self.labels,
            "class_names": np.array(self.class_names),
            "norm": np.array(self.threat.norm),
            "epsilon": np.array(self.threat.epsilon),
            "embeddings": self.embeddings,
            "answers": self.answers,
            "attacked_answers": self.attacked_answers,
        }
        with path.open("wb") as file:
            np.savez_compressed(file, **columns)  # type: ignore[arg-type]  # numpy's stub confuses it with allow_pickle

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read it. Raises BundleError where the file is no canary."""
        try:
            with open_npz(path) as file:
                images, attacked = (file.array(name, np.uint8, None, None, None, 3) for name in ("images", "attacked"))
                labels, answers, attacked_answers = (
                    file.array(name, np.int64, None) for name in ("labels", "answers", "attacked_answers")
                )
                names = tuple(map(str, file.array("class_names", np.str_, None)))
                norm, epsilon = str(file.array("norm", np.str_)), float(file.array("epsilon", np.float64))
                threat = ThreatModel(cast("Norm", norm), epsilon)  # which refuses what is no norm
                embeddings = file.array("embeddings", np.float32, None, None)
                return cls(images, attacked, labels, names, threat, embeddings, answers, attacked_answers)
        except UNREADABLE as error:
            raise BundleError(f"{path} is not a canary: {error}; run holdfast index again") from None
