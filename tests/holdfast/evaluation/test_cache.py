import pytest

from holdfast.errors import HoldfastError
from holdfast.evaluation.cache import ResultCache


def test_a_result_is_computed_once(tmp_path):
    cache, calls = ResultCache(tmp_path, {}), []

    def compute():
        calls.append(1)
        return 1 / 3

    assert not cache.has("third")
    assert [cache.once("third", float, compute) for _ in range(3)] == [1 / 3] * 3
    assert ResultCache(tmp_path, {}).once("third", float, compute) == 1 / 3
    assert cache.has("third")
    assert len(calls) == 1
    (tmp_path / "third.json").write_text("nonsense")
    with pytest.raises(HoldfastError, match="remove it"):
        cache.once("third", float, compute)


def test_without_a_directory_nothing_is_kept():
    cache = ResultCache()
    answers = iter([1.0, 2.0])
    assert [cache.once("number", float, lambda: next(answers)) for _ in range(2)] == [1.0, 2.0]
    assert not cache.has("number")
    assert cache.file("journal") is None
    with cache.timed():
        pass
    assert cache.seconds == 0


def test_results_of_another_evaluation_are_refused(tmp_path):
    ResultCache(tmp_path, {"seed": 0, "files": {"encoder.onnx": "aa"}})
    for other in ({"seed": 1, "files": {"encoder.onnx": "aa"}}, {"seed": 0, "files": {"encoder.onnx": "bb"}}):
        with pytest.raises(HoldfastError, match="another evaluation"):
            ResultCache(tmp_path, other)
    with pytest.raises(HoldfastError, match=r"seed: there 0, now null"):
        ResultCache(tmp_path, {"files": {"encoder.onnx": "aa"}})
    (tmp_path / "identity.json").write_text("{")
    with pytest.raises(HoldfastError, match="cannot be used"):
        ResultCache(tmp_path, {})


def test_time_adds_up_over_runs_interrupted_or_not(tmp_path):
    cache = ResultCache(tmp_path, {})
    with pytest.raises(KeyboardInterrupt), cache.timed():
        raise KeyboardInterrupt
    (tmp_path / "seconds.json").write_text("41.5\n")
    with cache.timed():
        pass
    assert ResultCache(tmp_path, {}).seconds >= 41.5
