"""Adversarial distillation: held against its formula, and its teachers against the runs that they are of."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from holdfast.trainer import train
from holdfast.trainer.config import Stage, TrainConfig
from holdfast.trainer.encoders import ResNetConfig, build_encoder
from holdfast.trainer.objectives import (
    AdversarialDistillationConfig,
    AmdimObjectiveConfig,
    SupervisedConfig,
    TradesConfig,
    build_objective,
)
from holdfast.trainer.objectives.distillation.classifier import CHECKPOINT, TeacherError, load_classifier
from holdfast.trainer.state import checkpoint
from tests.trainer.objectives.batches import STILL, batch
from tests.trainer.tiny_runs import SMALL, splits


def run_of(directory, name, objective, **changes):
    stage = Stage(name, objective, steps=3, batch_size=16)
    config = TrainConfig(encoder=ResNetConfig(6, 1, 8), stages=(stage,), out=directory / name, k=1, device="cpu")
    return replace(config, **changes)


@pytest.fixture(scope="module")
def teachers(tmp_path_factory):
    """A robust run with a cosine classifier, and a natural one with a linear classifier, of two classes."""
    directory = tmp_path_factory.mktemp("teachers")
    robust = run_of(directory, "robust", TradesConfig(steps=1, temperature=0.2, augment=STILL))
    natural = run_of(directory, "natural", SupervisedConfig(STILL))
    for config in (robust, natural):
        train.train(config, splits())
    return robust.out, natural.out


def test_a_teacher_answers_as_its_run_did(teachers):
    robust, natural = teachers
    pixels = batch().pixels()
    for directory, cosine in ((robust, True), (natural, False)):
        kept = checkpoint.load(directory).part("objective.")
        embeddings = checkpoint.load_encoder(directory)(pixels)
        if cosine:
            logits = F.normalize(embeddings, dim=1) @ F.normalize(kept["prototypes"], dim=1).T / 0.2
        else:
            logits = F.linear(embeddings, kept["classifier.weight"], kept["classifier.bias"])
        found = load_classifier(directory, 2).train()(pixels)
        assert torch.allclose(found, F.softmax(logits, dim=1), atol=1e-6)


def test_distillation_is_its_formula(teachers):
    torch.manual_seed(0)
    encoder = build_encoder(ResNetConfig(4, 1, 8)).eval()
    config = AdversarialDistillationConfig(
        epsilon=0.1, step_size=0.1, steps=2, teacher=teachers[0], natural_teacher=teachers[1], clean_weight=0.5, augment=STILL
    )
    objective = build_objective(config, encoder, 2)
    seen = []
    encoder.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].detach().clone()))
    terms = objective.terms(encoder, batch(), torch.Generator().manual_seed(1))
    clean, moved = seen[-1].chunk(2)
    assert (clean - moved).abs().max().item() == pytest.approx(0.1, abs=1e-6)
    robust, natural = (load_classifier(directory, 2)(clean) for directory in teachers)
    with torch.no_grad():
        own, attacked = (
            F.softmax(F.normalize(encoder(x), dim=1) @ F.normalize(objective.prototypes, dim=1).T / 0.1, 1)
            for x in (clean, moved)
        )
    divergence = (robust * (robust / attacked).log()).sum(1).mean()
    assert terms["clean"].item() == pytest.approx(0.5 * (natural * (natural / own).log()).sum(1).mean().item(), rel=1e-3)
    assert terms["robust"].item() == pytest.approx(5 * divergence.item(), rel=1e-3)
    assert divergence > (robust * (robust / own).log()).sum(1).mean()


def test_without_a_robust_teacher_it_is_trades_on_the_natural_teachers_answers(teachers):
    torch.manual_seed(0)
    encoder = build_encoder(ResNetConfig(4, 1, 8)).eval()
    attack = {"epsilon": 0.1, "step_size": 0.1, "steps": 2, "robust_weight": 3.0, "augment": STILL}
    distillation = build_objective(AdversarialDistillationConfig(natural_teacher=teachers[1], **attack), encoder, 2)
    trades = build_objective(TradesConfig(**attack), encoder, 2)
    trades.load_state_dict({"prototypes": distillation.prototypes.detach()})
    images = batch()
    answers = load_classifier(teachers[1], 2)(images.pixels())
    entropy = -(answers * answers.log()).sum(1).mean()
    ours = distillation.terms(encoder, images, torch.Generator().manual_seed(1))
    known = replace(images, labels=images.labels % 2)
    labelled = trades.terms(encoder, known, torch.Generator().manual_seed(1))
    assert ours["robust"].item() == pytest.approx(labelled["robust"].item(), rel=1e-3)
    with torch.no_grad():
        own = F.normalize(encoder(images.pixels()), dim=1) @ F.normalize(distillation.prototypes, dim=1).T / 0.1
        soft = -(answers * F.log_softmax(own, 1)).sum(1).mean()
    assert ours["clean"].item() == pytest.approx((soft - entropy).item(), rel=1e-3)


def test_a_run_goes_on_with_the_teachers_that_it_began_with(teachers, tmp_path):
    config = run_of(
        tmp_path, "student", AdversarialDistillationConfig(steps=1, teacher=teachers[0], augment=SMALL), checkpoint_every=1
    )
    whole = train.train(config, splits())
    for name, tensor in checkpoint.load(teachers[0]).part("encoder.").items():
        assert torch.equal(tensor, checkpoint.load(config.out).part("objective.teacher.encoder.")[name])
    again = train.train(replace(config, resume=True), splits())
    assert all(torch.equal(a, b) for a, b in zip(whole.encoder.parameters(), again.encoder.parameters(), strict=True))


def test_what_cannot_be_a_teacher_is_refused_with_its_name(teachers, tmp_path):
    with pytest.raises(TeacherError, match="absent"):
        load_classifier(tmp_path / "absent", 2)
    with pytest.raises(TeacherError, match="2 classes"):
        load_classifier(teachers[0], 3)
    unlabelled = run_of(tmp_path, "unlabelled", AmdimObjectiveConfig(SMALL))
    train.train(unlabelled, splits())
    with pytest.raises(TeacherError, match="no classifier"):
        load_classifier(unlabelled.out, 2)
    damaged = tmp_path / "damaged" / CHECKPOINT
    damaged.parent.mkdir(parents=True)
    damaged.write_bytes((teachers[0] / CHECKPOINT).read_bytes()[:-100])
    with pytest.raises(TeacherError, match="damaged"):
        load_classifier(tmp_path / "damaged", 2)


def test_distillation_from_nobody_is_refused():
    with pytest.raises(ValueError, match="natural"):
        AdversarialDistillationConfig()


@pytest.mark.parametrize("wrong", [{"temperature": 0.0}, {"clean_weight": -1.0}, {"robust_weight": float("nan")}])
def test_weights_below_nothing_are_refused(wrong):
    with pytest.raises(ValueError, match="distillation needs"):
        AdversarialDistillationConfig(teacher=Path("robust"), **wrong)
