"""Which differences of gradients are forgiven."""

import numpy as np
import pytest

from holdfast.trainer.export.parity import ExportMismatchError, compare_gradients


def test_a_few_images_at_kinks_are_forgiven_and_a_wrong_graph_is_not():
    expected = np.random.default_rng(0).standard_normal((20, 4, 4, 3), dtype=np.float32)
    ours = expected.copy()
    ours[:5] *= 1.05
    median, beyond = compare_gradients(ours, expected, "here")
    assert median == 0
    assert beyond == 0.25
    ours[5] *= 1.05
    with pytest.raises(ExportMismatchError, match="30%.*5.00e-02"):
        compare_gradients(ours, expected, "here")
    with pytest.raises(ExportMismatchError):
        compare_gradients(np.full_like(expected, np.nan), expected, "here")
