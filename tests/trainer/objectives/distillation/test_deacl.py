"""DeACL: whose teacher it is, that the teacher stays, and what the student is asked for."""

import pytest
import torch

from holdfast.trainer.encoders import ResNetConfig, build_encoder
from holdfast.trainer.objectives import DeaclConfig, build_objective
from tests.trainer.objectives.batches import batch


def student_and_deacl() -> tuple[torch.nn.Module, torch.nn.Module]:
    torch.manual_seed(0)
    encoder = build_encoder(ResNetConfig(8, 1, 16))
    objective = build_objective(DeaclConfig(steps=3), encoder, 3)
    with torch.no_grad():
        for parameter in encoder.parameters():
            parameter.mul_(1.1)
    return encoder.train(), objective.train()


def test_the_teacher_is_the_encoder_before_the_first_step_and_stays_so() -> None:
    encoder, objective = student_and_deacl()
    objective.prepare(encoder, batch(), 1)
    first = {k: v.clone() for k, v in encoder.state_dict().items()}
    optimiser = torch.optim.SGD(encoder.parameters(), 0.1)
    torch.stack(list(objective.terms(encoder, batch(), torch.Generator()).values())).sum().backward()
    optimiser.step()
    objective.prepare(encoder, batch(), 2)
    assert not torch.equal(encoder.to5[0].conv1.weight, first["to5.0.conv1.weight"])
    assert all(torch.equal(v, first[k]) for k, v in objective.teacher.state_dict().items())
    assert not objective.teacher.training
    # A run that goes on, and a second stage of the same objective, keep it.
    other = build_objective(DeaclConfig(), encoder, 3)
    other.load_state_dict(objective.state_dict())
    other.prepare(encoder, batch(), 1)
    assert all(torch.equal(v, first[k]) for k, v in other.teacher.state_dict().items())


def test_a_fresh_student_agrees_with_its_teacher_and_the_attack_pulls_it_away() -> None:
    encoder, objective = student_and_deacl()
    objective.prepare(encoder, batch(), 1)
    # In training mode BatchNorm's statistics are the batch's own, so agreement is exact only in evaluation mode.
    terms = objective.terms(encoder.eval(), batch(), torch.Generator().manual_seed(0))
    assert terms["clean"].item() == pytest.approx(-1, abs=1e-5)
    assert terms["robust"].item() > -2 + 1e-4
