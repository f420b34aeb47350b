"""What every peer serves: the bundle's own decoder and classifier, and answers with the fields of holdfast.v1.Classification.

Only the serving is then compared. Threads and kernels are holdfast's too: whoever starts a peer sets the environment.
"""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np

from holdfast.bundle.reader import Bundle
from holdfast.model.answers import Answers
from holdfast.model.preprocess import Pixels, decode_image

BUNDLE, BATCH, WAIT, DEADLINE = "BENCH_PEER_BUNDLE", "BENCH_PEER_BATCH", "BENCH_PEER_WAIT", "BENCH_PEER_DEADLINE"


@dataclass(frozen=True)
class PeerOptions:
    """How a peer is to serve.

    Attributes:
        bundle: its directory.
        port: of 127.0.0.1.
        batch: most images in one batch.
        wait: seconds that an image waits, at most, for others to share its batch.
        deadline: seconds after which callers give up; a peer that can drop late work is told so.

    """

    bundle: Path
    port: int
    batch: int
    wait: float
    deadline: float

    def export(self) -> None:
        """Put them where processes that a peer starts find them."""
        os.environ |= {
            BUNDLE: str(self.bundle),
            BATCH: str(self.batch),
            WAIT: str(self.wait),
            DEADLINE: str(self.deadline),
        }

    @classmethod
    def exported(cls) -> Self:
        """What `export` has put there; the port is not among it."""
        found = os.environ
        return cls(Path(found[BUNDLE]), 0, int(found[BATCH]), float(found[WAIT]), float(found[DEADLINE]))


class PeerModel:
    """The classifier of a bundle."""

    def __init__(self, options: PeerOptions) -> None:
        bundle = Bundle.open(options.bundle, max_batch=options.batch)
        self._classifier, self._contract, self._names = bundle.classifier(), bundle.manifest.input, bundle.class_names
        self.classify_arrays(np.zeros((options.batch, *self._contract.shape), dtype=np.uint8))

    @property
    def classes(self) -> int:
        """How many there are."""
        return len(self._names)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Of an image: height, width, 3."""
        return self._contract.shape

    def decode(self, encoded: bytes) -> Pixels:
        """uint8 [H, W, 3] of the bytes of a file. Raises ImageError."""
        return decode_image(encoded, self._contract)

    def classify_arrays(self, images: Pixels) -> Answers:
        """Answers as columns, of uint8 [N, H, W, 3]."""
        return self._classifier.classify(images)

    def classify(self, images: list[Pixels]) -> list[dict[str, Any]]:
        """Answers one by one, as JSON can hold them. A bundle without calibration has no credibility."""
        answers = self.classify_arrays(np.stack(images))
        columns = (
            answers.labels.tolist(),
            answers.probabilities.tolist(),
            answers.credibility.tolist(),
            answers.confidence.tolist(),
            answers.abstain.tolist(),
            answers.soft_margin.tolist(),
            answers.kth_distance.tolist(),
        )
        return [
            {
                "label": label,
                "name": self._names[label],
                "probabilities": probabilities,
                "credibility": credibility,
                "confidence": confidence,
                "abstain": abstain,
                "soft_margin": margin,
                "kth_neighbour_distance": distance,
            }
            for label, probabilities, credibility, confidence, abstain, margin, distance in zip(*columns, strict=True)
        ]
