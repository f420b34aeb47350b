"""Softmax response (Hendrycks and Gimpel, arXiv 1610.02136): the label's probability in the soft vote of the whole index."""

import numpy as np

from holdfast.model.answers import Floats, Ints


def softmax_response(scores: Floats, labels: Ints) -> Floats:
    """exp(L_label) / sum over classes of exp(L_c): float32 [N] in [0, 1].

    Of the label that is answered, and so not always the largest: where the vote and the soft vote differ, it is small.

    Args:
        scores: float32 [N, C], log scores L_c of the soft kNN; -inf for a class without an exemplar.
        labels: int64 [N], the answers.

    """
    with np.errstate(invalid="ignore"):  # of a soft vote in which no class has an exemplar: NaN
        shifted = np.exp(scores - scores.max(axis=1, keepdims=True))
        response: Floats = shifted[np.arange(len(labels)), labels] / shifted.sum(axis=1)
    return response
