"""Long replies of the Open Inference Protocol: in pieces, and whole all the same."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.protos.inference import service_pb2 as pb
from holdfast.server.api.open_inference.grpc_messages import in_stream, write_reply
from holdfast.server.api.open_inference.messages import InferReply
from holdfast.server.api.open_inference.tensors import BYTES, OutputTensor
from holdfast.server.decoding.turns import LoopTurns

LONG = InferReply(
    "tiny",
    "1",
    "of a caller",
    [
        OutputTensor("neighbour_ids", "INT64", (256, 1000), np.arange(256_000).reshape(256, 1000)),
        OutputTensor("probabilities", "FP32", (256, 10), np.random.default_rng(0).random((256, 10), np.float32)),
        OutputTensor("abstain", "BOOL", (256,), np.arange(256) % 2 == 0),
        OutputTensor("label_name", BYTES, (256,), [b"class %d" % number for number in range(256)]),
    ],
)


class CountedTurns(LoopTurns):
    """Remembers the seconds of each piece of work."""

    def __init__(self) -> None:
        super().__init__()
        self.pieces: list[float] = []

    async def take(self, caller: str, seconds: float) -> None:
        self.pieces.append(seconds)
        await super().take(caller, seconds)


@pytest.mark.parametrize("raw", [True, False])
async def test_a_long_reply_is_made_in_pieces_and_is_one_message(raw: bool) -> None:
    turns = CountedTurns()
    reply = await write_reply(LONG, turns, "a", raw=raw)
    message = pb.ModelInferResponse.FromString(reply)
    assert (message.model_name, message.model_version, message.id) == ("tiny", "1", "of a caller")
    assert [(each.name, each.datatype, tuple(each.shape)) for each in message.outputs] == [
        (each.name, each.datatype, each.shape) for each in LONG.outputs
    ]
    ids = LONG.outputs[0].values
    assert isinstance(ids, np.ndarray)
    if raw:
        assert message.raw_output_contents[0] == ids.tobytes()
        assert len(message.raw_output_contents) == len(LONG.outputs)
        assert message.raw_output_contents[3].startswith(b"\x07\0\0\0class 0\x07\0\0\0class 1")
    else:
        assert list(message.outputs[0].contents.int64_contents) == ids.reshape(-1).tolist()
        assert message.outputs[3].contents.bytes_contents[255] == b"class 255"
    assert len(turns.pieces) > 3
    assert max(turns.pieces) <= 2.1e-3


@given(st.text(max_size=300), st.binary(max_size=40_000))
def test_a_reply_in_a_stream_is_the_same_reply(name: str, content: bytes) -> None:
    reply = pb.ModelInferResponse(model_name=name, raw_output_contents=[content])
    expected = pb.ModelStreamInferResponse(infer_response=reply)
    assert pb.ModelStreamInferResponse.FromString(in_stream(reply.SerializeToString())) == expected
