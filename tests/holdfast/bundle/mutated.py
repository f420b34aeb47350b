"""python -m tests.holdfast.bundle.mutated BUNDLE: opens copies of a bundle whose bytes were changed and whose hashes fit.

In a process of its own, since what reads graphs and indexes is native code, and may take memory or end the process.
"""

import resource
import shutil
import sys
import tempfile
from pathlib import Path

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from holdfast.bundle import Bundle
from holdfast.errors import HoldfastError
from tests.holdfast.bundle.hostile import fit_hashes
from tests.holdfast.bundle.tiny import images_of

FILES = ("manifest.json", "exemplars.npz", "calibration.npz", "index.faiss", "encoder.onnx", "gradient.onnx")
EXAMPLES = 150

changes = st.lists(
    st.tuples(
        st.sampled_from(["flip", "cut", "insert", "repeat"]),
        st.floats(0, 1, exclude_max=True),
        st.binary(min_size=1, max_size=9),
    ),
    min_size=1,
    max_size=3,
)


def changed(data: bytes, kind: str, where: float, by: bytes) -> bytes:
    """The bytes with one change at a place that is a share of their length."""
    place = int(where * len(data))
    match kind:
        case "flip":
            return data[:place] + by + data[place + len(by) :]
        case "cut":
            return data[:place]
        case "insert":
            return data[:place] + by + data[place:]
        case _:
            return data[:place] + data[max(0, place - 64) : place] + data[place:]


@settings(max_examples=EXAMPLES, deadline=None, database=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(st.sampled_from(FILES), changes)
def opens_or_is_refused(name: str, made: list[tuple[str, float, bytes]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        directory = Path(folder) / "bundle"
        shutil.copytree(GOOD, directory)
        data = (directory / name).read_bytes()
        for change in made:
            data = changed(data, *change)
        (directory / name).write_bytes(data)
        if name != "manifest.json":
            fit_hashes(directory)
        try:
            bundle = Bundle.open(directory)
            answers = bundle.classifier().classify(images_of(3))
            _ = bundle.calibration_set, bundle.gradient
        except HoldfastError as error:
            assert "\n" not in str(error), error
            return
        except RuntimeError as error:
            assert "onnx" in str(error).lower(), error  # a graph that loads, and fails at an image
            return
        classes = len(bundle.class_names)
        assert ((answers.labels >= 0) & (answers.labels < classes)).all()
        if name not in {"encoder.onnx", "index.faiss"}:
            np.testing.assert_allclose(answers.probabilities.sum(axis=1), 1, rtol=1e-5)


if __name__ == "__main__":
    GOOD = Path(sys.argv[1])
    Bundle.open(GOOD)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    opens_or_is_refused()
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    assert grown < 400, f"{grown:.0f} MiB more than a good bundle takes"
