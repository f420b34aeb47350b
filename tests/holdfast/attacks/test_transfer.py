import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from holdfast.attacks.attack import AttackKind, PGDAttack
from holdfast.attacks.losses import LatentDistance, Margin
from holdfast.attacks.planted import knn_answers
from holdfast.attacks.quantise import to_pixels
from holdfast.attacks.search.suite import AttackSuite
from holdfast.attacks.surrogate import TorchSoftKNN
from holdfast.attacks.transfer import FromBundle
from holdfast.attacks.victim import Victim
from holdfast.bundle.exemplars import Exemplars
from holdfast.bundle.reader import Bundle, read_manifest
from holdfast.bundle.threat_model import ThreatModel
from holdfast.bundle.writer import BundleWriter
from holdfast.errors import ContractMismatchError
from holdfast.evaluation import victim_of
from holdfast.model.preprocess import InputContract
from holdfast.model.retrieval.base import Bank
from holdfast.model.retrieval.flat import FlatIndex
from holdfast.model.vote import VoteParameters
from holdfast.trainer.encoders import ResNetConfig, build_encoder
from holdfast.trainer.export.graphs import export
from tests.holdfast.bundle.tiny import manifest

LINF = ThreatModel("linf", 40 / 255)


@pytest.fixture(scope="module")
def scene():
    """Two victims over different random nets, the same exemplars, and 24 images of 3 classes."""
    rng = np.random.default_rng(0)
    prototypes = rng.integers(60, 196, (3, 10, 10, 3))
    labels = np.arange(120) % 3
    images = (prototypes[labels] + rng.integers(-40, 41, (120, 10, 10, 3))).clip(0, 255).astype(np.uint8)
    bank_labels = torch.from_numpy(labels[:96])

    def victim(seed):
        torch.manual_seed(seed)
        net = torch.nn.Sequential(
            torch.nn.Conv2d(3, 12, 3, stride=2), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.LazyLinear(16)
        ).eval()

        def embed(pixels):
            return F.normalize(net(pixels - 0.5), dim=1)

        with torch.no_grad():
            bank = embed(to_pixels(images[:96]))
        answer = knn_answers(embed, bank, bank_labels, 3, VoteParameters(k=5))
        return Victim(embed, TorchSoftKNN(bank, bank_labels, 3, 0.05), answer)

    return victim(0), victim(1), images[96:], labels[96:]


def propose(attack, victim, images, labels, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return attack(victim, to_pixels(images), torch.from_numpy(labels), LINF, generator)


def test_candidates_are_those_of_the_source_whoever_is_attacked(scene):
    victim, source, images, labels = scene
    attack = FromBundle("other", source, Margin(0.2), steps=6)
    own = propose(PGDAttack(Margin(0.2), 6), source, images, labels)
    for target in (victim, source):
        torch.testing.assert_close(propose(attack, target, images, labels), own, rtol=0, atol=0)
    assert not torch.equal(propose(attack, victim, images, labels, seed=1), own)


def test_the_victim_is_not_looked_at(scene):
    victim, source, images, labels = scene

    def refuse(_):
        raise AssertionError("an attack by transfer asked its victim")

    blind = replace(victim, embed=refuse, answer=refuse)
    propose(FromBundle("other", source, steps=2), blind, images, labels)


def test_it_fools_the_source_more_than_the_victim_and_both_are_judged_by_themselves(scene):
    victim, source, images, labels = scene
    suite = AttackSuite((FromBundle("other", source, steps=10),))
    there, here = (suite(target, images, labels, LINF) for target in (source, victim))
    assert there.success.sum() > here.success.sum() > 0
    np.testing.assert_array_equal(here.adversarial_labels, victim.answer(here.adversarial))
    assert set(here.found_by) <= {"", "transfer from other, margin tau 0.1"}


def test_it_says_what_it_is(scene):
    _, source, _, _ = scene
    steps = [FromBundle("a", source), FromBundle("b", source), FromBundle("a", source, LatentDistance(), sha256="f00")]
    assert {attack.kind for attack in steps} == {AttackKind.TRANSFER}
    assert len({str(attack) for attack in steps}) == len({repr(attack) for attack in steps}) == 3
    assert all(" at 0x" not in repr(attack) for attack in steps)


def write(directory, images, labels):
    torch.manual_seed(1)
    encoder = build_encoder(ResNetConfig(width=4, dim=8)).eval()
    contract = InputContract(height=32, width=32)
    writer = BundleWriter.create(directory)
    export(encoder, writer, contract)
    with torch.no_grad():
        bank = F.normalize(encoder(to_pixels(images)), dim=1).numpy()
    ids = np.arange(len(bank))
    writer.add("index.faiss", FlatIndex.build(Bank(bank, ids, labels)).save)
    writer.add("exemplars.npz", Exemplars(ids, labels, np.full(len(ids), "x"), np.zeros(len(ids), dtype=np.uint8)).save)
    writer.commit(manifest(name="theirs", input=contract, embedding_dim=8, class_names=("a", "b", "c")))
    return directory


def copy_of(directory, **changes):
    copy = shutil.copytree(directory, directory.with_name("-".join(changes)))
    BundleWriter.open(copy).commit(read_manifest(copy).model_copy(update=changes))
    return copy


@pytest.mark.slow
def test_a_bundle_is_a_source_if_it_speaks_of_the_same(scene, tmp_path):
    victim, *_ = scene
    rng = np.random.default_rng(2)
    images, labels = rng.integers(0, 256, (30, 32, 32, 3), dtype=np.uint8), np.arange(30) % 3
    theirs = write(tmp_path / "theirs", images, labels)
    mine = Bundle.open(copy_of(theirs, name="mine"))
    attack = FromBundle.open(theirs, like=mine, loss=Margin(0.2), steps=2)
    assert str(attack) == "transfer from theirs, margin tau 0.2"
    assert attack.sha256.split() == [mine.manifest.files[name] for name in ("encoder.onnx", "index.faiss")]
    # What it opened is the whole of the other bundle, as an evaluation of that one would see it.
    expected = victim_of(Bundle.open(theirs), Bundle.open(theirs).classifier(), None, images[:4])
    torch.testing.assert_close(attack.source.surrogate.bank, expected.surrogate.bank)
    np.testing.assert_array_equal(attack.source.answer(images), expected.answer(images))
    candidates = propose(attack, victim, images[:5], labels[:5])
    own = propose(PGDAttack(Margin(0.2), 2), expected, images[:5], labels[:5])
    torch.testing.assert_close(candidates, own, rtol=0, atol=0)

    stranger = copy_of(theirs, class_names=("a", "b", "d"))
    with pytest.raises(ContractMismatchError, match="a, b, d"):
        FromBundle.open(stranger, like=mine)
