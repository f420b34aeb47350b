"""A running server, and a bundle, as the attack libraries take them; the examples of docs/auditing.md run."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch

from holdfast.auditing import RemoteClassifier, art_classifier, foolbox_model, served_module
from holdfast.client import Client, ImageRefusedError, OverloadedError
from holdfast.errors import BundleError
from tests.server.running import REPOSITORY, Serve, Served
from tests.server.tiny import SIDE, Pixels, coloured

IMAGES, LABELS = np.concatenate([coloured(c, 2, seed=c) for c in range(3)]), np.repeat(np.arange(3), 2)

EXAMPLES = re.findall(r"^```python\n(.*?)^```", (REPOSITORY / "docs/auditing.md").read_text(), re.DOTALL | re.MULTILINE)


def as_pixels(images: Pixels) -> torch.Tensor:
    return torch.from_numpy(images).permute(0, 3, 1, 2) / 255


@pytest.mark.parametrize("example", EXAMPLES, ids=["torch", "art", "foolbox"])
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_the_examples_of_the_docs_run(
    served: Served, tiny_bundle: Path, example: str, capsys: pytest.CaptureFixture[str]
) -> None:
    given = {"ADDRESS": served.app.address, "BUNDLE": tiny_bundle, "IMAGES": IMAGES, "LABELS": LABELS}
    exec(example, given)  # noqa: S102 - our own text
    assert ":" in capsys.readouterr().out
    attacked = np.asarray(given["attacked"])
    assert attacked.shape == (len(IMAGES), 3, SIDE, SIDE)
    assert (attacked != as_pixels(IMAGES).numpy()).any()
    assert len([line for line in example.splitlines() if line]) <= 10


def test_the_libraries_see_what_the_server_answers(served: Served) -> None:
    with Client(served.app.address) as client:
        expected = [answer.index for answer in RemoteClassifier(client).answers(IMAGES)]
        predicted = art_classifier(client).predict(as_pixels(IMAGES).numpy())
        scored = foolbox_model(client)(as_pixels(IMAGES))
    assert predicted.argmax(1).tolist() == scored.argmax(1).tolist() == expected
    assert torch.from_numpy(predicted).equal(scored)


def test_the_module_answers_as_the_server_and_has_gradients(served: Served, tiny_bundle: Path) -> None:
    module, pixels = served_module(tiny_bundle), as_pixels(IMAGES).requires_grad_()
    with Client(served.app.address) as client:
        assert module.answer(pixels.detach()).tolist() == RemoteClassifier(client).labels(IMAGES).tolist()
    logits = module(pixels)
    assert logits.shape == (len(IMAGES), 3)
    assert logits.argmax(1).tolist() == LABELS.tolist()
    logits.sum().backward()
    assert pixels.grad is not None
    assert (pixels.grad.flatten(1).norm(dim=1) > 0).all()
    assert list(module.parameters()) == []
    with pytest.raises(ValueError, match="temperature"):
        served_module(tiny_bundle, tau=0.0)
    with pytest.raises(BundleError):
        served_module(tiny_bundle / "nothing")


def test_the_answered_class_has_the_largest_score_and_an_abstention_a_class_of_its_own(served: Served) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (24, SIDE, SIDE, 3), dtype=np.uint8)  # many a tie, many an abstention
    with Client(served.app.address) as client:
        remote = RemoteClassifier(client)
        answers = remote.answers(noise)
        scores, guarded = remote.scores(noise), remote.scores(noise, abstains=True)
        assert art_classifier(client, abstains=True).nb_classes == 4
    assert any(answer.abstain for answer in answers)
    assert scores.argmax(1).tolist() == [answer.index for answer in answers]
    assert ((scores == scores.max(1, keepdims=True)).sum(1) == 1).all()
    assert guarded.argmax(1).tolist() == [3 if answer.abstain else answer.index for answer in answers]


def test_a_server_without_room_is_asked_again(serve: Serve) -> None:
    served, pauses = serve(caller_rate=50.0, caller_burst=0.3), list[float]()
    with Client(served.app.address) as client:
        patient = RemoteClassifier(client, patience=30.0)
        assert len(patient.labels(np.repeat(IMAGES, 6, axis=0)[:12])) == 12
        for _ in range(3):
            assert len(patient.answers(IMAGES)) == len(IMAGES)
        assert patient.queries == 12 + 3 * len(IMAGES)
        hasty = RemoteClassifier(client, patience=0.0, sleep=pauses.append)
        with pytest.raises(OverloadedError):
            hasty.answers(np.repeat(IMAGES, 20, axis=0))


def test_an_image_that_is_refused_is_an_error(serve: Serve) -> None:
    with Client(serve(max_pixels=100).app.address) as client, pytest.raises(ImageRefusedError):
        RemoteClassifier(client).labels(IMAGES)
