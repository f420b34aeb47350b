"""Where a server listens: addresses as people write them, and one line where it cannot."""

import socket
import subprocess
import sys
from pathlib import Path

import grpc
import pytest

from holdfast.errors import HoldfastError
from holdfast.protos.holdfast.admin.v1 import admin_pb2
from holdfast.protos.holdfast.admin.v1.admin_pb2_grpc import AdminServiceStub
from holdfast.protos.holdfast.v1 import holdfast_pb2 as pb
from tests.refusals import one_line
from tests.server.running import REPOSITORY, Serve, Served, scrape


def ipv6_is_here() -> bool:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        return False
    return True


needs_ipv6 = pytest.mark.skipif(not ipv6_is_here(), reason="there is no IPv6 loopback here")
HOSTS = ["127.0.0.1", "localhost", pytest.param("::1", marks=needs_ipv6), pytest.param("[::1]", marks=needs_ipv6)]


@pytest.mark.parametrize("host", HOSTS)
def test_every_form_of_an_address_is_listened_on(serve: Serve, host: str) -> None:
    served = serve(host=host, admin_host=host, admin_port=0, admin_insecure=True)
    assert served.stub.GetModelInfo(pb.GetModelInfoRequest()).name == "tiny"
    assert "holdfast_bundle_info" in scrape(served.app.metrics_url)
    with grpc.insecure_channel(served.app.admin_address) as admin:
        assert AdminServiceStub(admin).ListVersions(admin_pb2.ListVersionsRequest()).versions


@needs_ipv6
def test_workers_listen_on_ipv6_too(serve: Serve) -> None:
    served = serve(host="::1", workers=1)
    assert served.stub.GetModelInfo(pb.GetModelInfoRequest()).name == "tiny"
    assert "holdfast_bundle_info" in scrape(served.app.metrics_url)


@pytest.mark.parametrize("host", ["192.0.2.1", "no..such", "127.0.0.1:80"])
@pytest.mark.parametrize("workers", [0, 1])
def test_an_address_that_is_not_ours_is_said(serve: Serve, host: str, workers: int) -> None:
    with pytest.raises(HoldfastError, match=f"cannot listen on .*{host}"):
        serve(host=host, workers=workers)


@pytest.mark.parametrize("which", ["metrics_port", "admin_port"])
def test_a_taken_port_is_said(serve: Serve, served: Served, which: str) -> None:
    port = int(served.app.address.split(":")[1])
    with pytest.raises(HoldfastError, match=f"cannot listen on 127.0.0.1:{port}"):
        serve(**{"admin_insecure": True, "admin_port": 0, which: port})


def test_a_taken_port_is_one_line(tiny_bundle: Path, served: Served) -> None:
    port = served.app.address.split(":")[1]
    command = [sys.executable, "-m", "server", "--bundle", str(tiny_bundle), "--port", port, "--metrics-port", "0"]
    result = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False, timeout=30)
    assert result.returncode == 2, result.stderr
    assert f"cannot listen on 127.0.0.1:{port}" in one_line(result.stderr)
