"""The id of a request, in and out."""

from pathlib import Path

import grpc
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from holdfast.protos.holdfast.v1 import holdfast_pb2 as pb
from holdfast.protos.holdfast.v1 import image_pb2
from holdfast.server.telemetry.calls import request_id_of
from tests.server.access.tokens import add
from tests.server.running import Serve, Served
from tests.server.tiny import coloured, png

KEY = "x-request-id"
IMAGE = image_pb2.Image(encoded=png(coloured(0, 1, seed=902)[0]))


def id_of(served: Served, *sent: str, images: int = 1) -> str:
    """The id that trails a call with these ids in its metadata."""
    metadata = tuple((KEY, each) for each in sent)
    try:
        _, call = served.stub.Classify.with_call(pb.ClassifyRequest(images=[IMAGE] * images), metadata=metadata)
    except grpc.RpcError as error:
        call = error
    (found,) = (value for key, value in call.trailing_metadata() if key == KEY)
    return str(found)


def test_a_callers_own_comes_back(served: Served) -> None:
    assert id_of(served, "a1._:/+=@-Z") == "a1._:/+=@-Z"
    assert id_of(served, "x" * 128) == "x" * 128


def test_a_refused_call_has_one_too(served: Served) -> None:
    assert id_of(served, "mine", images=0) == "mine"
    assert id_of(served, images=0)


def test_a_call_without_a_token_has_one_too(serve: Serve, tmp_path: Path) -> None:
    add(tmp_path / "tokens", "team-a")
    assert id_of(serve(token_file=tmp_path / "tokens"), "mine") == "mine"


def test_whoever_sends_none_gets_one_that_nobody_else_has(served: Served) -> None:
    assert len({id_of(served) for _ in range(20)}) == 20


@pytest.mark.parametrize("sent", ["x" * 129, "a b", 'a"b', "a;b", ""])
def test_what_will_not_do_is_replaced_and_counted(served: Served, sent: str) -> None:
    before = served.metric("holdfast_request_ids_replaced_total")
    given_id = id_of(served, sent)
    assert given_id
    assert given_id != sent
    assert served.metric("holdfast_request_ids_replaced_total") == before + 1


def test_an_operator_decides_how_long_they_may_be(serve: Serve) -> None:
    short, none = serve(request_id_chars=4), serve(request_id_chars=0)
    assert id_of(short, "four") == "four"
    assert id_of(short, "fives") != "fives"
    assert id_of(none, "a") != "a"


def test_streams_and_workers_have_them(serve: Serve) -> None:
    stub = serve(workers=1).stub
    stream = stub.ClassifyStream(iter([pb.ClassifyStreamRequest(images=[IMAGE])]), metadata=((KEY, "stream-1"),))
    assert len(list(stream)) == 1
    assert (KEY, "stream-1") in stream.trailing_metadata()


@given(st.one_of(st.text(max_size=40), st.binary(max_size=40), st.none(), st.integers()), st.integers(0, 40))
@settings(deadline=None, suppress_health_check=list(HealthCheck))
def test_whatever_is_taken_is_short_and_harmless(sent: object, longest: int) -> None:
    taken = request_id_of(sent, longest)
    if taken is not None:
        assert taken == sent
        assert 0 < len(taken) <= longest
        assert taken.isascii()
        assert taken.isprintable()
        assert not set(taken) & set(" \"'\\<>;,[]{}")
