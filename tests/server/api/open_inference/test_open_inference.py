"""The Open Inference Protocol over gRPC: what it says, and that it says what holdfast.v1 does."""

import io
import time
from collections.abc import Sequence
from typing import Any

import grpc
import numpy as np
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from holdfast.protos.holdfast.v1 import answer_pb2, holdfast_pb2, image_pb2
from holdfast.protos.inference import service_pb2 as oip
from tests.server.api.open_inference.asking import files_request, outputs_of, parameter, pixels_request, stub_of, wanting
from tests.server.core.test_queue import Gate
from tests.server.running import Serve, Served, refusal, snapshot_of, wait_for
from tests.server.tiny import COLOURS, DIM, K, Pixels, coloured, png

DEFAULT = ["label", "label_name", "probabilities", "credibility", "confidence", "abstain", "soft_margin"]
DEFAULT += ["kth_neighbour_distance", "kth_neighbour_distance_p_value", "softmax_response"]
RED, GREEN, BLUE = (png(coloured(label, 1, seed=7)[0]) for label in range(3))


def infer(served: Served, request: oip.ModelInferRequest, **call: Any) -> dict[str, Any]:
    return outputs_of(stub_of(served).ModelInfer(request, **call))


def classify(served: Served, images: Sequence[image_pb2.Image]) -> list[answer_pb2.Classification]:
    results = served.stub.Classify(holdfast_pb2.ClassifyRequest(images=images)).results
    return [result.answer for result in results]


def assert_says_what_holdfast_v1_does(outputs: dict[str, Any], answers: Sequence[answer_pb2.Classification]) -> None:
    assert list(outputs) == DEFAULT
    assert outputs["label"].tolist() == [a.label.index for a in answers]
    assert outputs["label_name"].tolist() == [a.label.name.encode() for a in answers]
    np.testing.assert_array_equal(outputs["probabilities"], np.array([a.probabilities for a in answers], np.float32))
    assert outputs["credibility"].tolist() == [a.credibility for a in answers]
    assert outputs["confidence"].tolist() == [a.confidence for a in answers]
    assert outputs["abstain"].tolist() == [a.abstain for a in answers]
    np.testing.assert_allclose(outputs["soft_margin"], [a.soft_margin for a in answers], rtol=1e-3, atol=1e-4)
    distances = [a.kth_neighbour_distance for a in answers]
    np.testing.assert_allclose(outputs["kth_neighbour_distance"], distances, rtol=1e-3, atol=1e-5)


@st.composite
def pixels(draw: st.DrawFn) -> Pixels:
    """uint8 [N, H, W, C], of any one size, noise over a colour."""
    count, height, width = draw(st.integers(1, 5)), draw(st.integers(1, 24)), draw(st.integers(1, 24))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    colour = rng.integers(0, 200, (count, 1, 1, draw(st.sampled_from((1, 3)))))
    return (colour + rng.integers(0, 55, (count, height, width, 1))).astype(np.uint8)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(images=pixels(), raw=st.booleans())
def test_pixels_get_the_answers_of_holdfast_v1(served: Served, images: Pixels, raw: bool) -> None:
    sent = [
        image_pb2.Image(raw=image_pb2.RawImage(data=i.tobytes(), shape=i.shape, dtype=image_pb2.DATA_TYPE_UINT8))
        for i in images
    ]
    reply = stub_of(served).ModelInfer(pixels_request(images, raw=raw))
    assert bool(reply.raw_output_contents) == raw
    assert_says_what_holdfast_v1_does(outputs_of(reply), classify(served, sent))


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(images=pixels(), raw=st.booleans(), kind=st.sampled_from(("PNG", "JPEG", "WEBP")))
def test_files_get_the_answers_of_holdfast_v1(served: Served, images: Pixels, raw: bool, kind: str) -> None:
    files = [png(image.repeat(3 // image.shape[-1], axis=-1), kind) for image in images]
    answers = classify(served, [image_pb2.Image(encoded=file) for file in files])
    assert_says_what_holdfast_v1_does(infer(served, files_request(files, raw=raw)), answers)


def test_files_may_have_a_side_of_one(served: Served) -> None:
    request = files_request([RED, BLUE])
    request.inputs[0].shape.append(1)
    assert infer(served, request)["label"].tolist() == [0, 2]


def test_outputs_are_those_that_were_asked_for_in_that_order(served: Served) -> None:
    request = wanting(files_request([GREEN, RED]), "embedding", "abstain", "label")
    outputs = infer(served, request)
    assert list(outputs) == ["embedding", "abstain", "label"]
    images = [image_pb2.Image(encoded=file) for file in (GREEN, RED)]
    embedded = served.stub.Embed(holdfast_pb2.EmbedRequest(images=images)).results
    assert outputs["embedding"].shape == (2, DIM)
    np.testing.assert_allclose(outputs["embedding"], [r.embedding.values for r in embedded], atol=1e-6)
    assert outputs["label"].tolist() == [1, 0]


def test_neighbours_are_those_of_holdfast_v1(served: Served) -> None:
    names = ("neighbour_ids", "neighbour_labels", "neighbour_similarities")
    (result,) = served.stub.Classify(
        holdfast_pb2.ClassifyRequest(images=[image_pb2.Image(encoded=BLUE)], neighbours=10**6)
    ).results
    for asked, count in ((None, K), (2, 2), (10**6, K), (0, 0)):
        given = {} if asked is None else {"neighbours": parameter(asked)}
        outputs = infer(served, wanting(files_request([BLUE, RED], parameters=given), *names))
        assert [outputs[name].shape for name in names] == [(2, count)] * 3
        assert outputs["neighbour_ids"][0].tolist() == [n.id for n in result.answer.neighbours[:count]]
        assert outputs["neighbour_labels"].tolist() == [[2] * count, [0] * count]
        similarities = [n.similarity for n in result.answer.neighbours[:count]]
        np.testing.assert_allclose(outputs["neighbour_similarities"][0], similarities, atol=1e-6)


def test_classification_names_the_largest_classes(served: Served) -> None:
    probabilities = infer(served, wanting(files_request([GREEN, BLUE]), "probabilities"))["probabilities"]
    for count in (1, 2, 3, 100):
        request = wanting(files_request([GREEN, BLUE]), "probabilities", classification=count)
        texts = infer(served, request)["probabilities"]
        assert texts.shape == (2, min(count, 3))
        for row, values in zip(texts, probabilities, strict=True):
            parts = [text.decode().split(":") for text in row]
            indices = [int(index) for _, index, _ in parts]
            assert indices == np.argsort(-values, kind="stable")[:count].tolist()
            assert [name for _, _, name in parts] == [list(COLOURS)[index] for index in indices]
            np.testing.assert_allclose([float(value) for value, _, _ in parts], values[indices], atol=1e-6)


def test_a_reply_repeats_the_id_and_names_the_model(served: Served) -> None:
    version = served.app.holder.current.description.bundle_version
    for asked in ("", version):
        reply = stub_of(served).ModelInfer(files_request([RED], id="call 7", model_version=asked))
        assert (reply.id, reply.model_name, reply.model_version) == ("call 7", "tiny", version)


def test_a_bad_image_fails_the_call_by_its_number(served: Served) -> None:
    error = refusal(lambda: infer(served, files_request([RED, b"no image", BLUE])))
    assert violation_of(error).field == "image[1]"


def test_with_partial_a_bad_image_fails_alone(served: Served) -> None:
    request = files_request([RED, b"no image", BLUE], parameters={"partial": parameter(True)})
    outputs = infer(served, request)
    assert list(outputs) == [*DEFAULT, "error"]
    assert outputs["label"].tolist() == [0, -1, 2]
    assert outputs["label_name"].tolist() == [b"red", b"", b"blue"]
    assert outputs["abstain"].tolist() == [False, True, False]
    for figure in ("credibility", "confidence", *DEFAULT[6:]):
        assert np.isnan(outputs[figure]).tolist() == [False, True, False]
    assert np.isnan(outputs["probabilities"]).all(axis=1).tolist() == [False, True, False]
    assert [bool(text) for text in outputs["error"]] == [False, True, False]
    classes = wanting(files_request([b"no image"], parameters={"partial": parameter(True)}), "probabilities", classification=2)
    assert infer(served, classes)["probabilities"].tolist() == [[b"", b""]]


def test_parameters_that_nobody_here_knows_are_passed_over(served: Served) -> None:
    others = {"priority": parameter(3), "sequence_id": parameter(9), "content_type": parameter("np")}
    assert infer(served, files_request([RED], parameters=others))["label"].tolist() == [0]


def test_the_parameter_timeout_is_a_deadline(serve: Serve) -> None:
    served = serve()
    late = files_request([RED], parameters={"timeout": parameter(1)})
    assert refusal(lambda: infer(served, late)).code() == grpc.StatusCode.DEADLINE_EXCEEDED
    none = files_request([RED], parameters={"timeout": parameter(0)})
    assert infer(served, none)["label"].tolist() == [0]


# ---- what is refused


def violation_of(error: grpc.RpcError) -> error_details_pb2.BadRequest.FieldViolation:
    status = rpc_status.from_call(error)
    assert status is not None
    assert status.code == grpc.StatusCode.INVALID_ARGUMENT.value[0]
    details = error_details_pb2.BadRequest()
    assert status.details[0].Unpack(details)
    (found,) = details.field_violations
    assert found.field in (error.details() or "")
    return found


def made(datatype: str, shape: Sequence[int], raw: bytes, name: str = "image") -> oip.ModelInferRequest:
    request = oip.ModelInferRequest(model_name="tiny", raw_input_contents=[raw])
    request.inputs.add(name=name, datatype=datatype, shape=shape)
    return request


def changed(request: oip.ModelInferRequest, **fields: Any) -> oip.ModelInferRequest:
    request.MergeFrom(oip.ModelInferRequest(**fields))
    return request


def both_contents() -> oip.ModelInferRequest:
    request = files_request([RED])
    request.inputs[0].contents.bytes_contents.append(RED)
    return request


def listed(datatype: str, shape: Sequence[int], **contents: Any) -> oip.ModelInferRequest:
    request = oip.ModelInferRequest(model_name="tiny")
    request.inputs.add(name="image", datatype=datatype, shape=shape, contents=oip.InferTensorContents(**contents))
    return request


def with_input_parameter(name: str, value: Any) -> oip.ModelInferRequest:
    request = files_request([RED])
    request.inputs[0].parameters[name].MergeFrom(parameter(value))
    return request


LONG = "long" * 100_000
BAD = {
    "no inputs": (oip.ModelInferRequest(model_name="tiny"), "inputs"),
    "two inputs": (changed(made("BYTES", [0], b""), inputs=[{"name": "b"}], raw_input_contents=[b""]), "inputs"),
    "another name": (made("BYTES", [1], b"", name="img"), "inputs[0].name"),
    "a long name": (made("BYTES", [1], b"", name=LONG), "inputs[0].name"),
    "another datatype": (made("FP32", [1, 2, 2, 3], bytes(48)), "inputs[0].datatype"),
    "a long datatype": (made(LONG, [1, 2, 2, 3], bytes(48)), "inputs[0].datatype"),
    "no shape": (made("BYTES", [], b""), "inputs[0].shape"),
    "no images": (made("BYTES", [0], b""), "inputs[0].shape"),
    "no pixels": (made("UINT8", [0, 2, 2, 3], b""), "inputs[0].shape"),
    "a negative side": (made("BYTES", [-1], RED), "inputs[0].shape"),
    "negative sides": (made("UINT8", [-1, -2, 2, 3], bytes(12)), "inputs[0].shape"),
    "two sides": (made("BYTES", [1, 2], b""), "inputs[0].shape"),
    "one image without its side": (made("UINT8", [2, 2, 3], bytes(12)), "inputs[0].shape"),
    "two channels": (made("UINT8", [1, 2, 2, 2], bytes(8)), "inputs[0].shape"),
    "an empty image": (made("UINT8", [1, 0, 2, 3], b""), "inputs[0].shape"),
    "a billion images": (made("BYTES", [10**9], b""), "inputs[0].shape"),
    "a billion a side": (made("UINT8", [1, 10**9, 10**9, 3], bytes(12)), "inputs[0]"),
    "a large shape": (made("UINT8", [2**62, 2**62, 2**62, 3], bytes(12)), "inputs[0].shape"),
    "a million sides": (made("UINT8", [2**62] * 100_000, bytes(12)), "inputs[0].shape"),
    "too many images": (made("UINT8", [257, 1, 1, 3], bytes(771)), "inputs[0].shape"),
    "too few bytes": (made("UINT8", [1, 2, 2, 3], bytes(11)), "inputs[0]"),
    "too many bytes": (made("UINT8", [1, 2, 2, 3], bytes(13)), "inputs[0]"),
    "no length": (made("BYTES", [1], b"\1\0"), "inputs[0]"),
    "a length that lies": (made("BYTES", [1], b"\xff\xff\xff\xff" + RED), "inputs[0]"),
    "an element too many": (made("BYTES", [1], b"\0\0\0\0" * 2), "inputs[0]"),
    "an element too few": (made("BYTES", [2], b"\0\0\0\0"), "inputs[0]"),
    "raw contents too few": (changed(files_request([RED]), inputs=[{"name": "b"}]), "raw_input_contents"),
    "raw contents too many": (changed(files_request([RED]), raw_input_contents=[b""]), "raw_input_contents"),
    "both contents": (both_contents(), "inputs[0].contents"),
    "no contents": (listed("BYTES", [1]), "inputs[0]"),
    "contents of another type": (listed("UINT8", [1, 1, 1, 1], int_contents=[1]), "inputs[0].contents"),
    "contents of two types": (listed("UINT8", [1, 1, 1, 1], int_contents=[1], uint_contents=[1]), "inputs[0].contents"),
    "values above 255": (listed("UINT8", [1, 1, 1, 1], uint_contents=[256]), "inputs[0].contents.uint_contents"),
    "too few values": (listed("UINT8", [1, 1, 1, 3], uint_contents=[1, 2]), "inputs[0]"),
    "another output": (wanting(files_request([RED]), "logits"), "outputs[0].name"),
    "a long output": (wanting(files_request([RED]), LONG), "outputs[0].name"),
    "an output twice": (wanting(files_request([RED]), "label", "abstain", "label"), "outputs[2].name"),
    "many outputs": (wanting(files_request([RED]), *["label"] * 1_000), "outputs"),
    "classes of a label": (wanting(files_request([RED]), "label", classification=1), "outputs[0].parameters.classification"),
    "half a class": (
        wanting(files_request([RED]), "probabilities", classification=0.5),
        "outputs[0].parameters.classification",
    ),
    "no number": (
        wanting(files_request([RED]), "probabilities", classification=float("nan")),
        "outputs[0].parameters.classification",
    ),
    "endless": (wanting(files_request([RED]), "label", other=float("inf")), "outputs[0].parameters.other"),
    "shared memory": (
        wanting(files_request([RED]), "label", shared_memory_region="r"),
        "outputs[0].parameters.shared_memory_region",
    ),
    "shared memory in": (with_input_parameter("shared_memory_region", "r"), "inputs[0].parameters.shared_memory_region"),
    "no number in": (with_input_parameter("x", float("nan")), "inputs[0].parameters.x"),
    "partly partial": (files_request([RED], parameters={"partial": parameter(1)}), "parameters.partial"),
    "a late timeout": (files_request([RED], parameters={"timeout": parameter(-1)}), "parameters.timeout"),
    "neighbours in words": (files_request([RED], parameters={"neighbours": parameter("two")}), "parameters.neighbours"),
    "a timeout in words": (files_request([RED], parameters={"timeout": parameter(LONG)}), "parameters.timeout"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_wrong_is_named(served: Served, name: str) -> None:
    request, field = BAD[name]
    began = time.monotonic()
    error = refusal(lambda: stub_of(served).ModelInfer(request))
    assert violation_of(error).field == field
    assert len(error.details() or "") < 500
    assert time.monotonic() - began < 5


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    datatype=st.sampled_from(("BYTES", "UINT8", "FP32", "")),
    shape=st.lists(st.one_of(st.integers(-2, 4), st.integers(-(2**63), 2**63 - 1)), max_size=5),
    raw=st.binary(max_size=60),
    output=st.sampled_from(("label", "probabilities", "")),
)
def test_whatever_comes_is_answered_or_refused_as_wrong(
    served: Served, datatype: str, shape: list[int], raw: bytes, output: str
) -> None:
    request = wanting(made(datatype, shape, raw), output)
    try:
        reply = stub_of(served).ModelInfer(request)
    except grpc.RpcError as error:
        assert error.code() == grpc.StatusCode.INVALID_ARGUMENT
        assert violation_of(error).field
    else:
        assert len(outputs_of(reply)[output]) == shape[0]


def test_another_model_or_version_is_not_found(served: Served) -> None:
    stub = stub_of(served)
    for names in ({"model_name": "other"}, {"model_version": "2"}, {"model_name": LONG}, {"model_name": ""}):
        error = refusal(lambda names=names: stub.ModelInfer(files_request([RED], **names)))
        assert error.code() == grpc.StatusCode.NOT_FOUND
        assert len(error.details() or "") < 500
    for call, request in (
        (stub.ModelMetadata, oip.ModelMetadataRequest(name="other")),
        (stub.ModelConfig, oip.ModelConfigRequest(name="tiny", version="1")),
        (stub.ModelStatistics, oip.ModelStatisticsRequest(name="other")),
    ):
        assert refusal(lambda call=call, request=request: call(request)).code() == grpc.StatusCode.NOT_FOUND


def test_a_version_that_was_replaced_is_not_answered_by_another(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    served = serve(max_wait=0, canary_interval=3600)
    stub, old = stub_of(served), served.app.holder.current.description
    gate = Gate(monkeypatch, served.app.holder.current.classifier)
    first = stub.ModelInfer.future(files_request([RED]))
    assert gate.entered.wait(10)
    waiting = stub.ModelInfer.future(files_request([RED], model_version=old.bundle_version))
    wait_for(lambda: served.metric("holdfast_queue_images") == 1)
    directory = served.app.settings.bundle
    assert directory is not None
    snapshot = snapshot_of(directory, old.version + 1)
    served.app.publish(snapshot)
    gate.open.set()
    assert first.result(10).model_version == old.bundle_version
    assert refusal(waiting.result).code() == grpc.StatusCode.NOT_FOUND
    assert stub.ModelInfer(files_request([RED])).model_version == str(old.version + 1)


def test_a_request_that_is_too_large_or_too_much_is_refused(serve: Serve) -> None:
    served = serve(max_images=2, queue_images=2)
    error = refusal(lambda: infer(served, files_request([RED] * 3)))
    assert violation_of(error).field == "inputs[0].shape"
    assert infer(served, files_request([RED] * 2))["label"].tolist() == [0, 0]


# ---- what it says of itself


def test_what_the_server_says_of_itself(served: Served) -> None:
    stub = stub_of(served)
    version = served.app.holder.current.description.bundle_version
    assert stub.ServerLive(oip.ServerLiveRequest()).live
    assert stub.ServerReady(oip.ServerReadyRequest()).ready
    ready = {name: stub.ModelReady(oip.ModelReadyRequest(name=name)).ready for name in ("tiny", "other", "")}
    assert ready == {"tiny": True, "other": False, "": False}
    assert stub.ModelReady(oip.ModelReadyRequest(name="tiny", version=version)).ready
    assert not stub.ModelReady(oip.ModelReadyRequest(name="tiny", version="1")).ready
    assert stub.ServerMetadata(oip.ServerMetadataRequest()).name == "holdfast"
    for wanted in (False, True):
        (model,) = stub.RepositoryIndex(oip.RepositoryIndexRequest(ready=wanted)).models
        assert (model.name, model.version, model.state) == ("tiny", version, "READY")


def test_metadata_and_configuration_are_true_of_replies(served: Served) -> None:
    stub = stub_of(served)
    metadata = stub.ModelMetadata(oip.ModelMetadataRequest(name="tiny"))
    request = wanting(files_request([RED, BLUE]), *(output.name for output in metadata.outputs))
    reply = stub.ModelInfer(request)
    config = stub.ModelConfig(oip.ModelConfigRequest(name="tiny")).config
    for said, configured, given_back in zip(metadata.outputs, config.output, reply.outputs, strict=True):
        assert said.name == configured.name == given_back.name
        assert said.datatype == given_back.datatype
        assert said.shape[0] == -1
        assert list(given_back.shape) == [2, *(K if side == -1 else side for side in said.shape[1:])]
        assert list(configured.dims) == (list(said.shape[1:]) or [1])
    assert [(i.name, i.datatype, list(i.shape)) for i in metadata.inputs] == [("image", "BYTES", [-1, 1])]
    assert config.max_batch_size == served.app.settings.max_images


@pytest.mark.parametrize("workers", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_statistics_count_what_was_done(serve: Serve, workers: int) -> None:
    served = serve(workers=workers)
    stub = stub_of(served)

    def statistics() -> oip.ModelStatistics:
        (found,) = stub.ModelStatistics(oip.ModelStatisticsRequest(name="tiny")).model_stats
        return found

    before = statistics()
    assert before.inference_count == before.execution_count == before.last_inference == 0
    began, seconds = time.time(), 0.0
    for _ in range(3):
        at = time.monotonic()
        stub.ModelInfer(files_request([RED, BLUE]))
        seconds += time.monotonic() - at
    served.stub.Classify(holdfast_pb2.ClassifyRequest(images=[image_pb2.Image(encoded=RED)]))
    refusal(lambda: stub.ModelInfer(made("FP32", [1], b"")))
    refusal(lambda: served.stub.Classify(holdfast_pb2.ClassifyRequest()))
    after = statistics()
    times = after.inference_stats
    assert (after.inference_count, after.execution_count) == (7, 4)
    assert (times.success.count, times.fail.count) == (4, 2)
    assert began - 1 <= after.last_inference / 1000 <= time.time() + 1
    parts = (times.compute_input, times.queue, times.compute_infer, times.compute_output)
    assert [part.count for part in parts] == [4] * 4
    assert times.compute_infer.ns > 0
    # Each of the calls was within what its caller has waited, and its parts make the whole.
    assert 0 < sum(part.ns for part in parts) <= times.success.ns + 10_000
    assert sum(part.ns for part in parts) >= 0.5 * times.success.ns
    assert (after.inference_count, statistics().inference_count) == (7, 7)


def test_calls_are_measured_as_those_of_every_api(served: Served) -> None:
    labels = {"grpc_service": "inference.GRPCInferenceService", "grpc_method": "ModelInfer"}
    before = served.metric("grpc_server_handled_total", grpc_code="NOT_FOUND", **labels)
    refusal(lambda: infer(served, files_request([RED], model_name="other")))
    assert served.metric("grpc_server_handled_total", grpc_code="NOT_FOUND", **labels) == before + 1


# ---- streams


def test_a_stream_replies_in_order_and_outlives_what_is_wrong(served: Served) -> None:
    def requests() -> Any:
        for number in range(60):
            if number % 10 == 9:
                yield files_request([b"no image"], id=str(number))
            else:
                yield files_request([(RED, GREEN, BLUE)[number % 3]] * (1 + number % 4), id=str(number))

    replies = list(stub_of(served).ModelStreamInfer(requests()))
    assert [reply.infer_response.id for reply in replies] == [str(number) for number in range(60)]
    for number, reply in enumerate(replies):
        if number % 10 == 9:
            assert "image[0]" in reply.error_message
            assert not reply.infer_response.outputs
        else:
            assert not reply.error_message
            assert outputs_of(reply.infer_response)["label"].tolist() == [number % 3] * (1 + number % 4)


def test_a_grey_image_is_grey_in_both_forms(served: Served) -> None:
    grey = np.full((1, 9, 7, 1), 90, np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(grey[0, :, :, 0]).save(buffer, "PNG")
    of_pixels, of_file = infer(served, pixels_request(grey)), infer(served, files_request([buffer.getvalue()]))
    np.testing.assert_array_equal(of_pixels["probabilities"], of_file["probabilities"])
