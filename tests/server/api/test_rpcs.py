"""Every RPC of a real server, through a real client."""

from collections.abc import Iterator

import numpy as np
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

from holdfast.bundle.reader import Bundle
from holdfast.client import Client
from holdfast.protos.holdfast.v1 import holdfast_pb2 as pb
from holdfast.protos.holdfast.v1 import image_pb2, model_pb2
from holdfast.server.api.holdfast_v1 import NAME
from tests.server.running import Serve, Served
from tests.server.tiny import COLOURS, DIM, SIDE, K, Pixels, coloured, png, raw


def encoded(image: Pixels, kind: str = "PNG") -> image_pb2.Image:
    return image_pb2.Image(encoded=png(image, kind))


@pytest.mark.parametrize("label", range(3))
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_classify_one(served: Served, label: int, kind: str) -> None:
    (image,) = coloured(label, 1, seed=200 + label)
    reply = served.stub.Classify(pb.ClassifyRequest(images=[encoded(image, kind)]))
    (result,) = reply.results
    assert result.WhichOneof("outcome") == "answer"
    answer = result.answer
    assert (answer.label.index, answer.label.name) == (label, list(COLOURS)[label])
    assert sum(answer.probabilities) == pytest.approx(1)
    assert len(answer.probabilities) == 3
    assert 0 < answer.credibility <= 1
    assert 0 <= answer.confidence < 1
    assert answer.soft_margin > 0
    assert 0 <= answer.kth_neighbour_distance <= 2
    assert 0 < answer.kth_neighbour_distance_p_value <= 1
    assert answer.softmax_response == pytest.approx(1 / (1 + np.exp(-answer.soft_margin)), rel=0.5)
    assert not answer.neighbours


def test_neighbours_come_on_request(served: Served) -> None:
    image = encoded(coloured(2, 1, seed=300)[0])
    for asked, given in ((0, 0), (3, 3), (K, K), (1000, K)):
        (result,) = served.stub.Classify(pb.ClassifyRequest(images=[image], neighbours=asked)).results
        neighbours = result.answer.neighbours
        assert len(neighbours) == given
        similarities = [n.similarity for n in neighbours]
        assert similarities == sorted(similarities, reverse=True)
        assert all(n.label.name == "blue" and 40 <= n.id < 60 for n in neighbours)
    assert result.answer.kth_neighbour_distance == pytest.approx(1 - similarities[-1], abs=1e-5)


@pytest.mark.parametrize("workers", [0, 1])
def test_certificates_come_on_request(serve: Serve, workers: int) -> None:
    server, images = serve(workers=workers), np.concatenate([coloured(label, 3, seed=600 + label) for label in range(3)])
    request = pb.ClassifyRequest(images=[raw(image) for image in images])
    assert not any(r.answer.HasField("certificates") for r in server.stub.Classify(request).results)
    request.certificates = True
    found = [r.answer.certificates for r in server.stub.Classify(request).results]
    classifier = Bundle.open(server.app.settings.bundle).classifier()
    retrieval = classifier.retrieve(images)
    wanted = classifier.certified(retrieval, classifier.decide(retrieval), np.arange(len(images)))
    assert [c.poison_tolerance for c in found] == wanted.poison_tolerance.tolist()
    assert max(c.poison_tolerance for c in found) > 0
    np.testing.assert_allclose([c.feature_shift for c in found], wanted.feature_shift, atol=1e-3)


def test_each_call_of_a_batch_is_certified_where_it_asked(served: Served) -> None:
    requests = [
        pb.ClassifyStreamRequest(sequence=n, images=[raw(coloured(n % 3, 1, seed=n)[0])] * (1 + n % 3), certificates=n % 2 == 0)
        for n in range(60)
    ]
    for reply in served.stub.ClassifyStream(iter(requests)):
        for result in reply.results:
            assert result.answer.HasField("certificates") == (reply.sequence % 2 == 0)
            if reply.sequence % 2 == 0:
                assert 0 <= result.answer.certificates.feature_shift <= 2
                assert result.answer.certificates.poison_tolerance < K


@pytest.mark.parametrize("workers", [0, 1])
def test_neighbours_name_their_sources_where_the_operator_lets_them(served: Served, serve: Serve, workers: int) -> None:
    request = pb.ClassifyRequest(images=[encoded(coloured(2, 1, seed=300)[0])], neighbours=3)
    (unnamed,) = served.stub.Classify(request).results
    assert not any(n.HasField("source") for n in unnamed.answer.neighbours)
    open_server = serve(reveal_sources=True, workers=workers)
    (named,) = open_server.stub.Classify(request).results
    assert [n.source for n in named.answer.neighbours] == [f"tiny/{n.id}" for n in unnamed.answer.neighbours]
    with Client(open_server.app.address) as client:
        answer = client.classify(coloured(2, 1, seed=300)[0], neighbours=1)
    assert answer.neighbours[0].source == f"tiny/{answer.neighbours[0].id}"


def test_raw_and_encoded_are_one_image(served: Served) -> None:
    (image,) = coloured(1, 1, seed=301)
    images = [encoded(image), raw(image)]
    first, second = served.stub.Classify(pb.ClassifyRequest(images=images, neighbours=K)).results
    assert first == second


@pytest.mark.parametrize("shape", [(1, 1), (1, 1, 1), (3, 50, 3), (200, 10), (SIDE, SIDE, 1)])
def test_raw_of_any_size_is_resized(served: Served, shape: tuple[int, ...]) -> None:
    image = np.full(shape, 128, dtype=np.uint8)
    (result,) = served.stub.Classify(pb.ClassifyRequest(images=[raw(image)])).results
    assert result.WhichOneof("outcome") == "answer"


def test_an_image_gets_the_same_answer_alone_and_among_32(served: Served) -> None:
    images = [raw(image) for label in range(3) for image in coloured(label, 11, seed=400 + label)][:32]
    together = served.stub.Classify(pb.ClassifyRequest(images=images, neighbours=K)).results
    for image, among in zip(images, together, strict=True):
        (alone,) = served.stub.Classify(pb.ClassifyRequest(images=[image], neighbours=K)).results
        a, b = alone.answer, among.answer
        assert a.label == b.label
        assert a.probabilities == b.probabilities
        assert (a.credibility, a.confidence, a.abstain) == (b.credibility, b.confidence, b.abstain)
        similarities = [[n.similarity for n in answer.neighbours] for answer in (a, b)]
        np.testing.assert_allclose(*similarities, atol=2e-5)
        assert a.soft_margin == pytest.approx(b.soft_margin, abs=1e-3)


def test_served_is_what_the_classifier_says(served: Served) -> None:
    images = np.concatenate([coloured(label, 4, seed=500 + label) for label in range(3)])
    results = served.stub.Classify(pb.ClassifyRequest(images=[raw(i) for i in images])).results
    answers = Bundle.open(served.app.settings.bundle).classifier().classify(images)
    assert [r.answer.label.index for r in results] == answers.labels.tolist()
    assert [r.answer.credibility for r in results] == answers.credibility.tolist()
    np.testing.assert_allclose([r.answer.soft_margin for r in results], answers.soft_margin, atol=1e-3)


def test_more_images_than_a_batch(served: Served) -> None:
    count = 3 * served.app.settings.max_batch + 1
    images = coloured(0, count // 2, seed=9), coloured(2, count - count // 2, seed=10)
    request = pb.ClassifyRequest(images=[raw(i) for i in np.concatenate(images)])
    results = served.stub.Classify(request).results
    assert [r.answer.label.index for r in results] == [0] * len(images[0]) + [2] * len(images[1])


def test_stream_replies_bear_their_sequence(served: Served) -> None:
    def requests() -> Iterator[pb.ClassifyStreamRequest]:
        for sequence in range(200):
            (image,) = coloured(sequence % 3, 1, seed=sequence)
            yield pb.ClassifyStreamRequest(sequence=1000 + sequence, images=[raw(image)], neighbours=1)

    replies = {reply.sequence: reply for reply in served.stub.ClassifyStream(requests())}
    assert sorted(replies) == list(range(1000, 1200))
    for sequence, reply in replies.items():
        assert not reply.HasField("error")
        assert [r.answer.label.index for r in reply.results] == [(sequence - 1000) % 3]
        assert len(reply.results[0].answer.neighbours) == 1


def test_a_bad_message_does_not_end_the_stream(served: Served) -> None:
    good = raw(coloured(1, 1, seed=1)[0])
    requests = [
        pb.ClassifyStreamRequest(sequence=1, images=[good]),
        pb.ClassifyStreamRequest(sequence=2, images=[image_pb2.Image(encoded=b"no image")]),
        pb.ClassifyStreamRequest(sequence=3),
        pb.ClassifyStreamRequest(sequence=4, images=[good]),
    ]
    replies = {reply.sequence: reply for reply in served.stub.ClassifyStream(iter(requests))}
    assert replies[1].results[0].answer.label.name == replies[4].results[0].answer.label.name == "green"
    assert "not a PNG" in replies[2].results[0].error.message
    assert "images" in replies[3].error.message


def test_embed(served: Served) -> None:
    images = coloured(0, 3, seed=600)
    request = pb.EmbedRequest(images=[*(raw(i) for i in images), image_pb2.Image(encoded=b"no")])
    results = served.stub.Embed(request).results
    vectors = np.array([r.embedding.values for r in results[:3]])
    assert vectors.shape == (3, DIM)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    expected = Bundle.open(served.app.settings.bundle).encoder.embed(images)
    np.testing.assert_allclose(vectors, expected, atol=1e-6)
    assert results[3].WhichOneof("outcome") == "error"


def test_model_info(served: Served) -> None:
    info = served.stub.GetModelInfo(pb.GetModelInfoRequest())
    manifest = Bundle.open(served.app.settings.bundle).manifest
    assert info.name == "tiny"
    assert list(info.class_names) == list(COLOURS)
    assert (info.input.height, info.input.width, info.input.channels) == (SIDE, SIDE, 3)
    assert (info.embedding_dim, info.exemplars, info.vote.k) == (DIM, 60, K)
    assert info.vote.weighting == model_pb2.VOTE_WEIGHTING_UNIFORM
    assert info.threat_model.norm == model_pb2.NORM_LINF
    assert info.threat_model.epsilon == pytest.approx(8 / 255)
    assert info.encoder_sha256 == manifest.files["encoder.onnx"]
    assert info.limits.images_per_call == served.app.settings.max_images
    assert not info.HasField("accuracy")


def test_health_is_serving_once_warm(served: Served) -> None:
    stub = health_pb2_grpc.HealthStub(served.channel)
    for service in ("", NAME):
        reply = stub.Check(health_pb2.HealthCheckRequest(service=service))
        assert reply.status == health_pb2.HealthCheckResponse.SERVING


def test_reflection_shows_the_service(served: Served) -> None:
    database = ProtoReflectionDescriptorDatabase(served.channel)
    assert NAME in database.get_services()
    assert database.FindFileByName("holdfast/v1/holdfast.proto").package == "holdfast.v1"
