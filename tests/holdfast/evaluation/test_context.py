from dataclasses import replace

import numpy as np
import pytest

from holdfast.bundle.reader import Bundle
from holdfast.errors import HoldfastError
from holdfast.evaluation import quick_plan, recorded_splits
from holdfast.evaluation.context import EvaluationContext, only_test


@pytest.fixture(scope="module")
def splits(exported):
    return recorded_splits(Bundle.open(exported).manifest)


def test_rows_are_those_of_the_test_set(exported, splits):
    context = EvaluationContext.open(exported, splits, quick_plan(images=30, seed=3))
    np.testing.assert_array_equal(splits.test.images[context.rows], context.images)
    np.testing.assert_array_equal(splits.test.labels[context.rows], context.labels)
    assert len(context.spare) == len(splits.calibration) + len(splits.test) - 30
    attacked = {image.tobytes() for image in context.images}
    assert not attacked & {image.tobytes() for image in context.spare.images}


def test_files_and_vote_identify_what_is_evaluated(exported, splits):
    context = EvaluationContext.open(exported, splits, quick_plan(images=4))
    manifest = context.bundle.manifest
    assert context.identity["files"]["encoder.onnx"] == manifest.files["encoder.onnx"]
    assert context.identity["files"]["index.faiss"] == manifest.files["index.faiss"]
    assert context.identity["vote"]["k"] == 5
    assert context.identity["data"] == splits.sha256
    other = replace(context, splits=only_test(splits.test))
    assert other.identity["data"] != splits.sha256


def test_an_attacker_without_the_bank_needs_images_of_their_own(exported, splits):
    alone = only_test(splits.test)
    context = EvaluationContext.open(exported, alone, quick_plan(images=None))
    with pytest.raises(HoldfastError, match="--images"):
        _ = context.without_bank
