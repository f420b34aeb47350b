import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from holdfast.attacks.losses.latent import latent_adversary
from holdfast.attacks.pgd import frozen, pgd
from holdfast.bundle.threat_model import ThreatModel
from holdfast.trainer.encoders import ResNetConfig, build_encoder

LINF = ThreatModel("linf", 0.1)


def away_from(target: Tensor):
    return lambda pixels: -(pixels - target).square().flatten(1).sum(1)


def test_a_concave_loss_is_climbed_to_its_top_inside_the_ball() -> None:
    clean, target = torch.full((2, 3, 4, 4), 0.5), torch.full((2, 3, 4, 4), 0.9)
    found = pgd(away_from(target), clean, LINF, steps=20, step_size=0.02)
    assert torch.allclose(found, torch.full_like(clean, 0.6), atol=1e-6)
    found = pgd(away_from(target), clean, ThreatModel("l2", 0.5), steps=20, step_size=0.1)
    assert torch.allclose((found - clean).flatten(1).norm(dim=1), torch.tensor([0.5, 0.5]), atol=1e-5)


def test_best_is_never_worse_than_last_and_keeps_each_image_on_its_own() -> None:
    clean = torch.rand(6, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    # A step as large as the ball overshoots, so that the last iterate is rarely the best.
    loss = away_from(clean + 0.03)

    def run(keep: str) -> Tensor:
        return pgd(loss, clean, LINF, steps=5, step_size=0.1, generator=torch.Generator().manual_seed(1), keep=keep)

    last, best = loss(run("last")), loss(run("best"))
    assert (best >= last - 1e-7).all()
    assert (best > last).any()


def test_seeded_attacks_repeat_and_clean_pixels_are_left_alone() -> None:
    clean = torch.rand(3, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    before = clean.clone()
    runs = [
        pgd(away_from(clean * 0), clean, LINF, steps=3, step_size=0.01, generator=torch.Generator().manual_seed(7))
        for _ in range(2)
    ]
    assert torch.equal(*runs)
    assert torch.equal(clean, before)
    assert not runs[0].requires_grad


def test_no_random_start_begins_at_the_clean_image() -> None:
    clean = torch.full((1, 3, 2, 2), 0.5)
    assert torch.equal(pgd(away_from(clean), clean, LINF, steps=0, step_size=0.01, random_start=False), clean)


def test_an_empty_batch_is_attacked_to_an_empty_batch() -> None:
    empty = torch.zeros(0, 3, 4, 4)
    assert pgd(away_from(empty), empty, LINF, steps=2, step_size=0.1).shape == empty.shape


def test_gradients_flow_inside_no_grad() -> None:
    clean = torch.full((1, 3, 2, 2), 0.5)
    with torch.no_grad():
        moved = pgd(away_from(clean + 0.2), clean, LINF, steps=1, step_size=0.05, random_start=False)
    assert torch.allclose(moved, clean + 0.05)


def test_frozen_holds_batchnorm_and_parameters_and_gives_back_every_mode() -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.Dropout())
    net[2].eval()
    net[0].bias.requires_grad_(requires_grad=False)
    before = {name: value.clone() for name, value in net.state_dict().items()}

    def fail_inside() -> None:
        with frozen(net):
            check()
            raise RuntimeError("inside")

    def check() -> None:
        assert not any(module.training for module in net.modules())
        assert not any(parameter.requires_grad for parameter in net.parameters())
        net(torch.rand(2, 3, 4, 4))

    with pytest.raises(RuntimeError, match="inside"):
        fail_inside()
    assert [net.training, net[0].training, net[1].training, net[2].training] == [True, True, True, False]
    assert [parameter.requires_grad for parameter in net.parameters()] == [True, False, True, True]
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_the_label_free_attack_turns_the_embedding_further_than_noise_does(norm: str) -> None:
    torch.manual_seed(0)
    encoder = build_encoder(ResNetConfig(8, 1, 16))
    pixels = torch.rand(8, 3, 32, 32)
    threat = ThreatModel(norm, 0.03 if norm == "linf" else 1.0)
    generator = torch.Generator().manual_seed(0)

    def cosine(other: Tensor) -> Tensor:
        with frozen(encoder), torch.no_grad():
            return F.cosine_similarity(encoder(pixels), encoder(other))

    step = threat.epsilon / 3
    attacked = latent_adversary(encoder, pixels, threat, steps=6, step_size=step, generator=generator)
    noise = latent_adversary(encoder, pixels, threat, steps=0, step_size=step, generator=generator)
    assert encoder.training
    assert (cosine(attacked) < cosine(noise)).all()
