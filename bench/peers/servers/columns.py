"""Answers as tensors, for the peers that speak the Open Inference Protocol."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from bench.peers.servers.served import PeerModel


def columns_of(model: PeerModel, encoded: Sequence[bytes]) -> dict[str, NDArray[np.generic]]:
    """Of N files: int64 [N, 1] "label", float32 [N, C] "probabilities", and float32 [N, 5] "figures".

    The figures are credibility, confidence, abstain (0 or 1), soft margin and distance to the k-th neighbour.
    """
    answers = model.classify_arrays(np.stack([model.decode(each) for each in encoded]))
    figures = (answers.credibility, answers.confidence, answers.abstain, answers.soft_margin, answers.kth_distance)
    return {
        "label": answers.labels[:, np.newaxis],
        "probabilities": answers.probabilities,
        "figures": np.stack(figures, axis=1).astype(np.float32),
    }
