"""The client against the real server in a process of its own, with probing on."""

import io
import json

import numpy as np
import pytest
from PIL import Image

import holdfast.client as holdfast
from bench.harness.server_process import running_server
from bench.synthetic import images, write_bundle
from holdfast.client.__main__ import main
from holdfast.server.core.snapshot import ModelSnapshot
from tests.server.running import metric_of, scrape, wait_for

PROBING = ("--probe-rate", "1", "--probe-budget", "0.5", "--probe-epsilons", "2/255,32/255")


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return write_bundle(tmp_path_factory.mktemp("real") / "bundle")


@pytest.fixture(scope="module")
def classifier(bundle):
    return ModelSnapshot.of(bundle, version=1).classifier


@pytest.fixture(scope="module")
def server(bundle):
    with running_server(bundle.directory, *PROBING) as server:
        yield server


@pytest.fixture(scope="module")
def pictures():
    return images(3, seed=21)[0]


def metric(server, name, **labels):
    return metric_of(scrape(server.metrics), name, **labels)


def png(picture):
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "PNG")
    return file.getvalue()


def test_answers_are_the_classifiers_own_in_every_form(classifier, server, pictures):
    expected = classifier.classify(pictures)
    with holdfast.Client(server.address) as c:
        raw = c.classify_many(pictures, neighbours=3, per_call=5)
        encoded = dict(c.stream([png(picture) for picture in pictures]))
        embeddings = c.embed(pictures)
        info = c.model_info()
    assert np.allclose(embeddings, expected.embeddings, atol=1e-6)
    for row, answer in enumerate(raw):
        assert answer.index == encoded[row].index == expected.labels[row]
        assert answer.label == info.class_names[answer.index]
        assert answer.credibility == pytest.approx(expected.credibility[row])
        assert answer.soft_margin == pytest.approx(float(expected.soft_margin[row]), abs=1e-3)
        assert [n.id for n in answer.neighbours] == expected.neighbours.ids[row, :3].tolist()
    assert info.exemplars == 200
    assert info.input_shape == (32, 32, 3)


def test_certificates_are_the_classifiers_own(classifier, server, pictures):
    retrieval = classifier.retrieve(pictures)
    expected = classifier.certified(retrieval, classifier.decide(retrieval), np.arange(len(pictures)))
    with holdfast.Client(server.address) as c:
        plain, answers = c.classify(pictures[0]), c.classify_many(pictures, certificates=True, per_call=5)
        streamed = dict(c.stream(pictures, certificates=True))
    assert plain.certificates is None
    assert 0 < plain.kth_distance_p_value <= 1 or np.isnan(plain.kth_distance_p_value)
    for row, answer in enumerate(answers):
        assert answer.certificates.poison_tolerance == expected.poison_tolerance[row]
        assert answer.certificates.feature_shift == pytest.approx(expected.feature_shift[row], abs=1e-3)
        assert answer.softmax_response == pytest.approx(float(expected.softmax_response[row]), abs=1e-3)
        assert streamed[row].certificates.poison_tolerance == expected.poison_tolerance[row]


async def test_the_async_client_too(server, pictures):
    async with holdfast.AsyncClient(server.address) as c:
        outcomes = await c.classify_many([png(pictures[0]), b"no image"])
        assert isinstance(outcomes[0], holdfast.Answer)
        certified = await c.classify(pictures[0], certificates=True, certify=8, sigma=0.02)
        assert certified.certificates.feature_shift >= 0
        assert certified.smoothing.draws == 8
        assert isinstance(outcomes[1], holdfast.ImageRefusedError)
        assert outcomes[1].violations[0][0] == "images[1].encoded"
        with pytest.raises(holdfast.ImageRefusedError, match="not a PNG, JPEG or WebP"):
            await c.classify(b"no image")
        streamed = {position: outcome async for position, outcome in c.stream([b"no image", pictures[0]])}
    assert isinstance(streamed[0], holdfast.ImageRefusedError)
    assert isinstance(streamed[1], holdfast.Answer)


def test_the_commands(server, pictures, tmp_path, capsys):
    path = tmp_path / "picture.png"
    path.write_bytes(png(pictures[0]))
    assert main(["classify", str(path), "--address", server.address, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)[0]["label"] in "abcd"
    assert main(["classify", str(path), "--address", server.address, "--neighbours", "3"]) == 0
    extras = ["--certificates", "--certify", "8", "--sigma", ".02"]
    capsys.readouterr()
    assert main(["classify", str(path), "--address", server.address, "--json", *extras]) == 0
    (told,) = json.loads(capsys.readouterr().out)
    assert told["certificates"]["poison_tolerance"] >= 0
    assert told["smoothing"]["draws"] == 8
    assert main(["classify", str(path), "--address", server.address, *extras]) == 0
    assert main(["info", "--address", server.address]) == 0
    assert main(["health", "--address", server.address]) == 0


def test_probes_end_up_in_the_metrics_and_nowhere_else(server, pictures):
    with holdfast.Client(server.address) as c:
        before = c.classify(pictures[0])
        c.classify_many(pictures)
        wait_for(
            lambda: metric(server, "holdfast_probe_total", attack="pgd", epsilon=f"{32 / 255:.6g}", outcome="flip") >= 3, 30
        )
        after = c.classify(pictures[0])
    assert (after.label, after.soft_margin) == (before.label, before.soft_margin)
    assert metric(server, "holdfast_probe_total", attack="noise") > 0
    assert metric(server, "holdfast_probe_total", outcome="error") == 0

    def rate(attack, epsilon, bound="estimate"):
        return metric(server, "holdfast_flip_rate", attack=attack, epsilon=f"{epsilon:.6g}", bound=bound)

    wait_for(lambda: rate("pgd", 32 / 255) > 0.5, 30)  # which is shown when all that was sampled of a batch is probed
    for attack in ("noise", "pgd"):
        for epsilon in (2 / 255, 32 / 255):
            low, estimate, high = (rate(attack, epsilon, bound) for bound in ("low", "estimate", "high"))
            assert 0 <= low <= estimate <= high <= 1
    assert rate("noise", 2 / 255) == 0
