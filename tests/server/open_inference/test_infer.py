"""The Open Inference Protocol, by messages: what each form of a call gets, and what each wrong one is told."""

import struct
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from holdfast.client import Client
from holdfast.protos.inference import inference_pb2 as pb
from holdfast.protos.inference.inference_pb2_grpc import GRPCInferenceServiceStub
from holdfast.server.access.scopes import Scope
from holdfast.server.api.open_inference.tensors import bytes_tensor, sources_of
from holdfast.server.core.errors import InvalidRequestError
from tests.server.access.tokens import add, bearing
from tests.server.api.admin import violations
from tests.server.running import LoopThread, Serve, Served, refusal, start
from tests.server.tiny import coloured, png

PIXELS = np.concatenate([coloured(label, 1, seed=7) for label in range(3)])
FILES = [png(image) for image in PIXELS]
TYPES = {"INT64": np.int64, "FP32": np.float32, "BOOL": np.bool_}


def stub_of(server: Served) -> GRPCInferenceServiceStub:
    return GRPCInferenceServiceStub(server.channel)


def images(files: list[bytes] = FILES, **fields: Any) -> pb.ModelInferRequest:
    """A call with files, by raw contents."""
    request = pb.ModelInferRequest(model_name="tiny", raw_input_contents=[bytes_tensor(files)], **fields)
    request.inputs.add(name="images", datatype="BYTES", shape=[len(files)])
    return request


def pixels(array: Any = PIXELS, **fields: Any) -> pb.ModelInferRequest:
    """A call with pixels, by raw contents."""
    request = pb.ModelInferRequest(model_name="tiny", raw_input_contents=[array.tobytes()], **fields)
    request.inputs.add(name="pixels", datatype="UINT8", shape=array.shape)
    return request


def outputs_of(reply: pb.ModelInferResponse) -> dict[str, Any]:
    """The tensors of a reply, by name."""
    found: dict[str, Any] = {}
    for tensor, raw in zip(reply.outputs, reply.raw_output_contents, strict=True):
        if tensor.datatype == "BYTES":
            found[tensor.name] = np.array(texts(raw)).reshape(tensor.shape)
        else:
            found[tensor.name] = np.frombuffer(raw, TYPES[tensor.datatype]).reshape(tensor.shape)
    return found


def texts(raw: bytes) -> list[str]:
    found, place = [], 0
    while place < len(raw):
        (length,) = struct.unpack_from("<I", raw, place)
        found.append(raw[place + 4 : place + 4 + length].decode())
        place += 4 + length
    return found


def test_the_answers_are_those_of_the_other_protocol(served: Served) -> None:
    reply = stub_of(served).ModelInfer(images(id="seven"))
    found = outputs_of(reply)
    assert (reply.model_name, reply.id) == ("tiny", "seven")
    with Client(served.app.address) as client:
        for row, answer in enumerate(client.classify_many(FILES)):
            assert found["label"][row] == answer.label
            assert found["probabilities"][row] == pytest.approx(answer.probabilities, abs=1e-6)
            assert found["credibility"][row] == pytest.approx(answer.credibility, nan_ok=True)
            assert found["abstain"][row] == answer.abstain
            assert found["soft_margin"][row] == pytest.approx(answer.soft_margin)


def test_every_form_of_an_input_gets_the_same(served: Served) -> None:
    stub = stub_of(served)
    typed = pb.ModelInferRequest(model_name="tiny")
    typed.inputs.add(name="images", datatype="BYTES", shape=[3], contents=pb.InferTensorContents(bytes_contents=FILES))
    numbers = pb.ModelInferRequest(model_name="tiny")
    contents = pb.InferTensorContents(uint_contents=PIXELS.reshape(-1).tolist())
    numbers.inputs.add(name="pixels", datatype="UINT8", shape=PIXELS.shape, contents=contents)
    expected = outputs_of(stub.ModelInfer(images()))
    for request in (typed, numbers, pixels()):
        found = outputs_of(stub.ModelInfer(request))
        for name, values in expected.items():
            np.testing.assert_array_equal(found[name], values)


def test_neighbours_and_embeddings_come_where_they_are_asked_for(served: Served) -> None:
    stub, tensor = stub_of(served), pb.ModelInferRequest.InferRequestedOutputTensor
    wanted = [tensor(name=f"neighbour_{column}") for column in ("ids", "classes", "similarities")]
    request = images(outputs=wanted, parameters={"neighbours": pb.InferParameter(int64_param=2)})
    found = outputs_of(stub.ModelInfer(request))
    assert found["neighbour_ids"].shape == (3, 2)
    assert found["neighbour_classes"].tolist() == [[0, 0], [1, 1], [2, 2]]
    assert (np.diff(found["neighbour_similarities"], axis=1) <= 0).all()
    more = images(outputs=wanted, parameters={"neighbours": pb.InferParameter(int64_param=10**6)})
    assert outputs_of(stub.ModelInfer(more))["neighbour_ids"].shape == (3, 5)  # the k of the vote
    embedding = outputs_of(stub.ModelInfer(images(outputs=[tensor(name="embedding")])))["embedding"]
    with Client(served.app.address) as client:
        np.testing.assert_allclose(embedding, client.embed(FILES), atol=1e-6)


def output(name: str, **parameters: int) -> pb.ModelInferRequest.InferRequestedOutputTensor:
    given = {key: pb.InferParameter(int64_param=value) for key, value in parameters.items()}
    return pb.ModelInferRequest.InferRequestedOutputTensor(name=name, parameters=given)


def changed(request: pb.ModelInferRequest, **fields: Any) -> pb.ModelInferRequest:
    """The same with another input tensor."""
    for name, value in fields.items():
        if name == "shape":
            request.inputs[0].ClearField("shape")
            request.inputs[0].shape.extend(value)
        else:
            setattr(request.inputs[0], name, value)
    return request


WRONG = {
    "no input": (pb.ModelInferRequest(model_name="tiny"), "inputs"),
    "two inputs": (pb.ModelInferRequest(model_name="tiny", inputs=[images().inputs[0]] * 2), "inputs"),
    "another input": (changed(images(), name="numbers"), "inputs[0].name"),
    "another type": (changed(images(), datatype="FP32"), "inputs[0].datatype"),
    "no shape": (changed(images(), shape=[]), "inputs[0].shape"),
    "a shape of two": (changed(images(), shape=[1, 3]), "inputs[0].shape"),
    "none": (changed(images(), shape=[0]), "inputs[0].shape"),
    "fewer than none": (changed(images(), shape=[-3]), "inputs[0].shape"),
    "too many": (changed(images(), shape=[2**40]), "inputs[0].shape"),
    "more than there are": (changed(images(), shape=[4]), "raw_input_contents[0]"),
    "fewer than there are": (changed(images(), shape=[2]), "raw_input_contents[0]"),
    "pixels of another size": (changed(pixels(), shape=[3, 16, 16, 4]), "inputs[0].contents"),
    "pixels without images": (changed(pixels(), shape=[16, 16, 3]), "inputs[0].shape"),
    "pixels of a huge size": (changed(pixels(), shape=[1, 2**31, 2**31, 3]), "inputs[0].contents"),
    "an unknown output": (images(outputs=[output("colour")]), "outputs[0].name"),
    "an output twice": (images(outputs=[output("label"), output("label")]), "outputs[1].name"),
    "embeddings and labels": (images(outputs=[output("label"), output("embedding")]), "outputs"),
    "classes of a label": (images(outputs=[output("label", classification=2)]), "outputs[0].parameters"),
    "shared memory": (images(outputs=[output("label", shared_memory_region=1)]), "outputs[0].parameters"),
    "an unknown parameter": (images(parameters={"priority": pb.InferParameter(int64_param=1)}), "parameters"),
    "neighbours in words": (images(parameters={"neighbours": pb.InferParameter(string_param="two")}), "parameters"),
    "no neighbours": (images(parameters={"neighbours": pb.InferParameter(int64_param=0)}), "parameters"),
    "a bad image": (images([FILES[0], b"no image"]), "images[1].encoded"),
}


@pytest.mark.parametrize("how", WRONG)
def test_what_is_wrong_is_named(served: Served, how: str) -> None:
    request, field = WRONG[how]
    error = refusal(lambda: stub_of(served).ModelInfer(request))
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert field in violations(error)


@pytest.mark.parametrize(("name", "version"), [("", ""), ("another", ""), ("tiny", "0")])
def test_another_model_is_not_found(served: Served, name: str, version: str) -> None:
    stub, request = stub_of(served), images()
    request.model_name, request.model_version = name, version
    for call in (
        lambda: stub.ModelInfer(request),
        lambda: stub.ModelMetadata(pb.ModelMetadataRequest(name=name, version=version)),
        lambda: stub.ModelConfig(pb.ModelConfigRequest(name=name, version=version)),
    ):
        assert refusal(call).code() is grpc.StatusCode.NOT_FOUND
    assert not stub.ModelReady(pb.ModelReadyRequest(name=name, version=version)).ready


def test_the_version_that_is_told_is_taken(served: Served) -> None:
    stub, request = stub_of(served), images()
    (request.model_version,) = stub.ModelMetadata(pb.ModelMetadataRequest(name="tiny")).versions
    reply = stub.ModelInfer(request)
    assert reply.model_version == request.model_version
    assert stub.ModelReady(pb.ModelReadyRequest(name="tiny", version=request.model_version)).ready


def test_statistics_count_calls_and_images(serve: Serve) -> None:
    stub = stub_of(serve())
    for request in (images(), images(FILES[:1])):
        stub.ModelInfer(request)
    refusal(lambda: stub.ModelInfer(images([b"no image"])))
    (found,) = stub.ModelStatistics(pb.ModelStatisticsRequest()).model_stats
    assert (found.inference_count, found.execution_count) == (4, 2)
    assert (found.inference_stats.success.count, found.inference_stats.fail.count) == (2, 1)
    assert found.inference_stats.success.ns > 0
    assert found.last_inference > 0


@pytest.fixture(scope="module")
def guarded(tiny_bundle: Path, loop_thread: LoopThread, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    file = tmp_path_factory.mktemp("tokens") / "tokens"
    tokens = {scope: add(file, f"holder-{number}", scope) for number, scope in enumerate(Scope)}
    with ExitStack() as stack:
        yield start(stack, loop_thread, tiny_bundle, token_file=file), tokens


@pytest.mark.parametrize(
    ("names", "scopes"),
    [
        ([], {Scope.CLASSIFY}),
        (["label"], {Scope.CLASSIFY}),
        (["embedding"], {Scope.EMBED}),
        (["label", "neighbour_ids"], set()),  # which takes both
    ],
)
def test_each_output_needs_its_scope(guarded: Any, names: list[str], scopes: set[Scope]) -> None:
    server, tokens = guarded
    request = images(outputs=[output(name) for name in names])
    for scope, token in tokens.items():
        call = stub_of(server).ModelInfer.future(request, metadata=bearing(token))
        expected = grpc.StatusCode.OK if scope in scopes else grpc.StatusCode.PERMISSION_DENIED
        assert call.code() is expected, scope


@settings(max_examples=300)
@given(st.binary(max_size=40), st.lists(st.integers(-2, 9), max_size=5), st.sampled_from(["images", "pixels"]))
def test_no_contents_are_read_past_their_end(raw: bytes, shape: list[int], name: str) -> None:
    request = pb.ModelInferRequest(raw_input_contents=[raw])
    request.inputs.add(name=name, datatype="BYTES" if name == "images" else "UINT8", shape=shape)
    try:
        found = sources_of(request, 8)
    except InvalidRequestError:
        return
    assert len(found) == shape[0]


@given(st.lists(st.binary(max_size=9), min_size=1, max_size=8))
def test_elements_are_read_as_they_were_written(values: list[bytes]) -> None:
    assert sources_of(images(values), 8) == values
