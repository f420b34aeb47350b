"""The classifier that an encoder was trained with, on embeddings as they are served: what it says of answers that others gave.

A bundle may have one beside its index. No answer depends on it; an evaluation compares it with what the index says itself. Two
scores of an answer come from it: softmax response (Hendrycks and Gimpel, arXiv 1610.02136), the probability that it gives the
label that is answered, among the classes; and, where it learned to abstain (Huang et al. 2020, arXiv 2002.10319), the
probability of its additional logit.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from holdfast.errors import BundleError, ContractMismatchError
from holdfast.model.answers import Floats, Ints
from holdfast.model.npz import UNREADABLE, open_npz


@dataclass(frozen=True, slots=True)
class ClassifierHead:
    """Logits of embeddings of unit length: w u + b.

    Attributes:
        weights: float32 [C, D], or [C + 1, D] with a row for "I do not know" last.
        bias: float32 [C] or [C + 1].
        classes: C.
        centre: float32 [D], m of a whitened encoder, shorter than 1; zeros of another.
        unwhiten: float32 [D, D], the inverse of the map behind a whitened encoder; None of another, whose u is the embedding
            itself. Of a whitened one u is the embedding as it was before: u = m + s A z, with s > 0 so that |u| = 1.
        agreement: share of the training images tried to which it gives the answer that the trained classifier gives. They may
            differ where the trained one goes by the length of an embedding: a served one is of unit length.

    """

    weights: Floats
    bias: Floats
    classes: int
    centre: Floats
    unwhiten: Floats | None = None
    agreement: float = 1.0

    def __post_init__(self) -> None:
        rows, dim = self.weights.shape if self.weights.ndim == 2 else (0, 0)
        square = self.unwhiten is None or self.unwhiten.shape == (dim, dim)
        if (
            rows not in {self.classes, self.classes + 1}
            or self.bias.shape != (rows,)
            or self.centre.shape != (dim,)
            or not square
        ):
            raise BundleError(
                f"a classifier of {self.classes} classes has weights {list(self.weights.shape)}, a bias {list(self.bias.shape)}"
                f" and a centre {list(self.centre.shape)}"
            )
        arrays = [each for each in (self.weights, self.bias, self.centre, self.unwhiten) if each is not None]
        if not all(np.isfinite(each).all() for each in arrays) or not np.linalg.norm(self.centre) < 1:
            raise BundleError("a classifier's numbers are finite, and its centre is shorter than 1")

    @property
    def abstains(self) -> bool:
        """Whether it has a logit for "I do not know"."""
        return len(self.weights) > self.classes

    def logits(self, embeddings: Floats) -> NDArray[np.float64]:
        """Of embeddings of unit length [N, D]: float64 [N, C] or [N, C + 1]."""
        u = embeddings.astype(np.float64)
        if self.unwhiten is not None:
            direction, centre = u @ self.unwhiten.T, self.centre.astype(np.float64)
            along, square = direction @ centre, np.square(direction).sum(axis=1)
            length = (np.sqrt(along**2 + square * (1 - centre @ centre)) - along) / square
            u = centre + length[:, None] * direction
        logits: NDArray[np.float64] = u @ self.weights.T.astype(np.float64) + self.bias
        return logits

    def response(self, embeddings: Floats, labels: Ints) -> NDArray[np.float64]:
        """Softmax response: the probability, among the classes, of labels int64 [N]. Shape: float64 [N] in [0, 1]."""
        shares = _softmax(self.logits(embeddings)[:, : self.classes])
        response: NDArray[np.float64] = shares[np.arange(len(labels)), labels]
        return response

    def doubt(self, embeddings: Floats) -> NDArray[np.float64]:
        """The probability of the abstain logit, which there must be: float64 [N] in [0, 1]."""
        doubt: NDArray[np.float64] = _softmax(self.logits(embeddings))[:, self.classes]
        return doubt

    def with_agreement(self, agreement: float) -> Self:
        """The same, with a share in [0, 1]."""
        return replace(self, agreement=agreement)

    def refuse_misfit(self, dim: int, classes: int, where: str) -> None:
        """Raises ContractMismatchError unless it classifies `dim` dimensions into `classes` classes."""
        if (self.weights.shape[1], self.classes) != (dim, classes):
            raise ContractMismatchError(
                f"{where} classifies {self.weights.shape[1]} dimensions into {self.classes} classes, the bundle has {dim} and"
                f" {classes}: export it again with holdfast train --resume"
            )

    def save(self, path: Path) -> None:
        """Write it as .npz, which holds no pickles."""
        arrays = {
            "weights": self.weights.astype(np.float32, copy=False),
            "bias": self.bias.astype(np.float32, copy=False),
            "classes": np.array(self.classes),
            "centre": self.centre.astype(np.float32, copy=False),
            "agreement": np.array(self.agreement),
        }
        if self.unwhiten is not None:
            arrays["unwhiten"] = self.unwhiten.astype(np.float32, copy=False)
        with path.open("wb") as file:
            np.savez(file, **arrays)  # type: ignore[arg-type]  # numpy's stub confuses it with allow_pickle

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read it. Raises BundleError where the file is no classifier."""
        try:
            with open_npz(path) as file:
                return cls(
                    weights=file.array("weights", np.float32, None, None),
                    bias=file.array("bias", np.float32, None),
                    classes=int(file.array("classes", np.int64)),
                    centre=file.array("centre", np.float32, None),
                    unwhiten=file.array("unwhiten", np.float32, None, None) if "unwhiten" in file else None,
                    agreement=float(file.array("agreement", np.float64)),
                )
        except UNREADABLE as error:
            raise BundleError(f"{path} is not a classifier: {error}; export it again with holdfast train --resume") from None


def _softmax(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    raised = np.exp(logits - logits.max(axis=1, keepdims=True))
    shares: NDArray[np.float64] = raised / raised.sum(axis=1, keepdims=True)
    return shares
