import numpy as np
import pytest

from holdfast.errors import HoldfastError
from holdfast.evaluation.report import training_curves
from holdfast.trainer.loop.log import Log


def test_the_log_as_training_writes_it_is_read_back(tmp_path):
    with Log(tmp_path, ("extra", "late"), seconds=0, console=None) as log:
        log.begin({})
        for stage, factor in (("one", 1), ("two", 2)):
            for step in range(1, 1001):
                values = {"loss": factor / step, "gradient_norm": float("inf") if step == 1000 else 1.0}
                log.write(stage, step, values | ({"late": 1.0} if step > 500 and factor == 2 else {}))
    one, two = training_curves(tmp_path / "log.csv")
    assert (one.stage, two.stage) == ("one", "two")
    assert (one.steps[0], one.steps[-1], len(one.steps)) == (1, 1000, 300)
    assert sorted(set(one.steps)) == list(one.steps)
    assert one.values.keys() == {"loss", "gradient_norm"}
    assert two.values["late"] == tuple(None if step <= 500 else 1.0 for step in two.steps)
    np.testing.assert_allclose(two.values["loss"], 2 / np.array(two.steps), rtol=1e-5)
    assert one.values["gradient_norm"][-1] is None
    assert len(one.seconds) == 300
    short = training_curves(tmp_path / "log.csv", points=5000)[0]
    assert short.steps == tuple(range(1, 1001))


def test_no_log_is_no_curve_and_a_wrong_one_is_told(tmp_path):
    assert training_curves(tmp_path / "log.csv") == ()
    for wrong in ("a,b\n1,2\n", "stage,step,seconds,loss\ns,one,2,3\n", "stage,step,seconds,loss\ns,1\n"):
        (tmp_path / "log.csv").write_text(wrong)
        with pytest.raises(HoldfastError, match="not a training log"):
            training_curves(tmp_path / "log.csv")
