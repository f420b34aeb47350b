"""A server that has a store takes it along when it reloads another version of its bundle."""

from contextlib import ExitStack

import grpc
import numpy as np
import pytest

from holdfast.protos.holdfast.admin.v1 import admin_pb2, exemplar_pb2
from holdfast.protos.holdfast.v1 import holdfast_pb2
from tests.server.api.admin import Operator, token_file
from tests.server.running import refusal, start
from tests.server.tiny import SIDE, raw, write_bundle

VIOLET = np.array([120, 0, 160], dtype=np.int16)


def violet(count, seed=0):
    noise = np.random.default_rng(seed).integers(-20, 21, (count, SIDE, SIDE, 3))
    return np.clip(VIOLET + noise, 0, 255).astype(np.uint8)


def label(server, image):
    reply = server.stub.Classify(holdfast_pb2.ClassifyRequest(images=[raw(image)]))
    return reply.results[0].answer.label.name


@pytest.fixture
def versions(tmp_path):
    write_bundle(tmp_path / "versions" / "v1")
    return tmp_path / "versions"


@pytest.mark.parametrize("keep_images", [True, False])
def test_what_was_added_follows_a_reload_where_pictures_were_kept(versions, tmp_path, loop_thread, keep_images):
    with ExitStack() as stack:
        settings = {"store": tmp_path / "store", "admin_token_file": token_file(tmp_path / "tokens"), "admin_port": 0}
        settings |= {"bundle_versions": versions, "watch_interval": 0, "keep_images": keep_images, "judge": False}
        server = start(stack, loop_thread, None, **settings)
        operator = Operator(server.app.admin_address)
        exemplars = [exemplar_pb2.NewExemplar(image=raw(each), label="violet") for each in violet(6)]
        operator.AddExemplars(admin_pb2.AddExemplarsRequest(exemplars=exemplars, request_id="one"))
        assert label(server, violet(1, 9)[0]) == "violet"

        write_bundle(tmp_path / "aside", per_class=25)
        (tmp_path / "aside").rename(versions / "v2")
        if keep_images:
            operator.Reload(admin_pb2.ReloadRequest())
        else:
            refused = refusal(lambda: operator.Reload(admin_pb2.ReloadRequest()))
            assert refused.code() == grpc.StatusCode.FAILED_PRECONDITION
            assert "6 of 6" in refused.details()
        info = server.stub.GetModelInfo(holdfast_pb2.GetModelInfoRequest())
        assert info.exemplars == (81 if keep_images else 66)
        assert label(server, violet(1, 9)[0]) == "violet"
        reply = operator.AddExemplars(admin_pb2.AddExemplarsRequest(exemplars=exemplars, request_id="two"))
        assert len(reply.results) == 6
        assert label(server, violet(1, 9)[0]) == "violet"
