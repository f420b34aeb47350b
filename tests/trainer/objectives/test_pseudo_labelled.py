"""Labels that are guessed once, by the stage before, and learned from together with those that are known."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from holdfast.data import Splits
from holdfast.trainer import train
from holdfast.trainer.augment import WEAK
from holdfast.trainer.config import Stage, TrainConfig
from holdfast.trainer.encoders import ResNetConfig, build_encoder
from holdfast.trainer.loop.recorder import PausedError
from holdfast.trainer.objectives import ImageBatch, PseudoLabelledConfig, TradesConfig, UganConfig
from holdfast.trainer.objectives.trades import nll_of_known
from tests.trainer.objectives.batches import batch
from tests.trainer.tiny_runs import same, splits

TRADES = TradesConfig(steps=1, augment=replace(WEAK, flip=0.0, translate=0))


def few() -> Splits:
    """Eight images with labels, and the others without."""
    all_labelled = splits()
    hidden = all_labelled.train.take(range(8, 40))
    unlabelled = replace(hidden, labels=hidden.labels * 0 - 1)
    return replace(all_labelled, train=all_labelled.train.take(range(8)), unlabelled=unlabelled)


def two_stages(out) -> TrainConfig:
    ugan = Stage("ugan", UganConfig(), steps=4, batch_size=16, schedule="constant", betas=(0.5, 0.999), average=0.5)
    trades = Stage("trades", PseudoLabelledConfig(TRADES, threshold=0.4), steps=3, batch_size=16)
    return TrainConfig(ResNetConfig(4, 1, 8), (ugan, trades), out, k=3, checkpoint_every=2, log_every=1, device="cpu")


@pytest.mark.parametrize("threads", [1, 2])
def test_a_run_in_two_stages_is_resumed_within_the_second(tmp_path, threads) -> None:
    config = replace(two_stages(tmp_path / "whole"), threads=threads)
    whole = train.train(config, few())
    sliced = replace(config, out=tmp_path / "sliced", resume_if_any=True, minutes=1e-9)
    for _ in range(6):
        with pytest.raises(PausedError):
            train.train(sliced, few())
    assert same(whole.encoder, train.train(replace(sliced, minutes=0.0), few()).encoder)


def test_what_is_sure_is_a_label_and_known_labels_stay() -> None:
    torch.manual_seed(0)
    encoder = build_encoder(ResNetConfig(8, 1, 16)).train()
    objective = PseudoLabelledConfig(TRADES, threshold=0.5).build(encoder, 3).train()
    objective.size(12, 1)
    with torch.no_grad():
        objective.mean_classifier.weight *= 50
    known = batch().labels.clone()
    known[4:] = -1
    train_set = ImageBatch(batch().images, known, batch().rows)
    objective.begin(encoder, train_set, torch.arange(12))
    assert encoder.training
    encoder.eval()
    with torch.no_grad():
        sure, likeliest = objective.mean_classifier(encoder(batch().pixels())).softmax(1).max(1)
    assert 0 < int((sure[4:] > 0.5).sum()) < 8
    expected = torch.where(sure > 0.5, likeliest, -1)
    expected[:4] = known[:4]
    objective.prepare(encoder, train_set, 1)
    terms = objective.terms(encoder, train_set, torch.Generator().manual_seed(1))
    by_hand = objective.inner.terms(
        encoder, ImageBatch(batch().images, expected, batch().rows), torch.Generator().manual_seed(1)
    )
    assert {name: term.item() for name, term in terms.items()} == {name: term.item() for name, term in by_hand.items()}


def test_images_without_a_label_have_no_clean_term() -> None:
    scores = torch.randn(5, 3, generator=torch.Generator().manual_seed(0)).log_softmax(1).requires_grad_()
    labels = torch.tensor([0, -1, 2, -1, 1])
    known = torch.tensor([0, 2, 4])
    assert nll_of_known(scores, labels).item() == pytest.approx(F.nll_loss(scores[known], labels[known]).item())
    nothing = nll_of_known(scores, torch.full((5,), -1))
    nothing.backward()
    assert nothing.item() == 0
    assert scores.grad is not None
    assert not scores.grad.any()


def test_labels_come_from_a_stage_that_has_a_classifier(tmp_path) -> None:
    ugan, trades = two_stages(tmp_path).stages
    for stages in (
        (trades,),
        (replace(ugan, objective=TRADES), trades),
        (ugan, replace(ugan, name="x", objective=TRADES), trades),
    ):
        with pytest.raises(ValueError, match="which must be ugan"):
            replace(two_stages(tmp_path), stages=stages)
    with pytest.raises(ValueError, match="in \\[0, 1\\)"):
        PseudoLabelledConfig(threshold=1.0)
