"""A run that diverges stops with the step and its values, and keeps its last good checkpoint."""

from dataclasses import replace

import pytest

from holdfast.trainer import train
from holdfast.trainer.loop.optim import DivergedError
from holdfast.trainer.loop.recorder import PausedError
from holdfast.trainer.objectives.contrastive.amdim import AmdimObjective
from holdfast.trainer.state import checkpoint
from tests.trainer.tiny_runs import rows, splits


def poison(monkeypatch: pytest.MonkeyPatch, step: int, value: float) -> None:
    """Let a term of AMDIM be `value` times itself at a step."""
    terms, calls = AmdimObjective.terms, []

    def poisoned(self, encoder, batch, generator):
        found = terms(self, encoder, batch, generator)
        calls.append(1)
        return found | {"1to7": found["1to7"] * value} if len(calls) == step else found

    monkeypatch.setattr(AmdimObjective, "terms", poisoned)


@pytest.mark.parametrize("every", [1, 2, 3, 25])
@pytest.mark.parametrize(("value", "said"), [(float("nan"), "nan"), (float("inf"), "inf")])
def test_nan_stops_with_step_and_values_and_the_last_good_checkpoint_stays(
    two_stage_run, monkeypatch, every, value, said
) -> None:
    """Also where metrics are read only every few steps, as on a GPU: they are read before anything is kept."""
    config = replace(two_stage_run, stages=(replace(two_stage_run.stages[0], steps=9), two_stage_run.stages[1]))
    poison(monkeypatch, 5, value)
    monkeypatch.setattr(train, "sync_every", lambda _: every)
    with pytest.raises(DivergedError, match=rf"step 5 of stage 'amdim': loss {said}.*1to7 {said}"):
        train.train(config, splits())
    kept = checkpoint.load(config.out)
    assert (kept.position.stage, kept.position.step) == (0, 4)
    assert all(tensor.isfinite().all() for tensor in kept.tensors.values())
    assert [row["step"] for row in rows(config)] == [*"1234"]


def test_throughput_is_of_the_steps_of_this_invocation(two_stage_run) -> None:
    with pytest.raises(PausedError) as caught:
        train.train(replace(two_stage_run, minutes=1e-9), splits())
    assert [(each.stage, each.images) for each in caught.value.throughputs] == [("amdim", 16)]
    trained = train.train(replace(two_stage_run, resume=True), splits())
    assert [(each.stage, each.images) for each in trained.throughputs] == [("amdim", 3 * 16), ("ssat", 5 * 16)]
    assert all(each.seconds > 0 for each in trained.throughputs)
