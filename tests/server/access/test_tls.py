"""TLS and mTLS, by real servers and clients."""

import logging
import socket
import ssl
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from prometheus_client.parser import text_string_to_metric_families

from holdfast.cli import main
from holdfast.client import AsyncClient, Client, Tls, UnreachableError
from holdfast.client.__main__ import main as client_main
from holdfast.client.admin import AdminClient
from holdfast.errors import HoldfastError
from holdfast.server.access.scopes import Scope
from holdfast.server.exposure import exposures
from holdfast.server.settings import load_settings
from tests.server.access.certificates import Authority, ecdsa
from tests.server.access.test_scopes import Noting
from tests.server.access.tokens import add
from tests.server.running import Process, Serve, Served, scrape, wait_for
from tests.server.tiny import coloured, png

IMAGE = png(coloured(1, 1, seed=1)[0])


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "authority")


@pytest.fixture
def files(authority: Authority) -> dict[str, Path]:
    """The settings of a server with TLS."""
    chain, key = authority.issue("server")
    return {"tls_cert": chain, "tls_key": key}


def classify(server: Served, tls: Tls | None, token: str | None = None) -> str:
    with Client(server.app.address, tls=tls, token=token, timeout=10) as client:
        return client.classify(IMAGE).label


def why(call: Callable[[], Any]) -> str:
    with pytest.raises(UnreachableError) as caught:
        call()
    return str(caught.value)


def shown_by(address: str) -> int:
    """The serial number of the certificate that a new connection is shown."""
    host, _, port = address.rpartition(":")
    return x509.load_pem_x509_certificate(ssl.get_server_certificate((host, int(port))).encode()).serial_number


def serial_of(path: Path) -> int:
    return x509.load_pem_x509_certificate(path.read_bytes()).serial_number


@pytest.mark.parametrize("key", [ecdsa, lambda: rsa.generate_private_key(65537, 2048)], ids=["ecdsa", "rsa"])
def test_who_knows_the_signer_is_answered_and_nobody_else(
    serve: Serve, authority: Authority, tmp_path: Path, key: Callable[[], Any]
) -> None:
    chain, private = authority.issue("server", key=key())
    server = serve(tls_cert=chain, tls_key=private)
    assert classify(server, Tls(ca=authority.file)) == "green"
    namesake, stranger = Authority(tmp_path / "namesake"), Authority(tmp_path / "stranger", "stranger")
    assert "namesake" in why(lambda: classify(server, Tls(ca=namesake.file)))
    assert "not signed by one that this client trusts" in why(lambda: classify(server, Tls(ca=stranger.file)))
    assert "not signed by one that this client trusts" in why(lambda: classify(server, Tls()))
    assert "--tls" in why(lambda: classify(server, None))


def test_the_name_is_the_one_that_was_asked_for(serve: Serve, authority: Authority) -> None:
    chain, key = authority.issue("server", names=(x509.DNSName("holdfast.example"),))
    server = serve(tls_cert=chain, tls_key=key)
    assert "another name" in why(lambda: classify(server, Tls(ca=authority.file)))
    assert classify(server, Tls(ca=authority.file, server_name="holdfast.example")) == "green"


def test_a_server_without_tls_is_told_from_one_with(served: Served, authority: Authority) -> None:
    assert "does not speak TLS" in why(lambda: classify(served, Tls(ca=authority.file)))


@pytest.mark.parametrize("workers", [0, 1])
def test_clients_show_a_certificate_where_it_is_asked_for(
    serve: Serve, authority: Authority, files: dict[str, Path], tmp_path: Path, workers: int
) -> None:
    noting = Noting()
    parts = {"observers": [lambda *_: noting]}
    server = serve(**files, tls_client_ca=authority.file, workers=workers, parts=parts)
    assert "--cert" in why(lambda: classify(server, Tls(ca=authority.file)))
    stranger = Authority(tmp_path / "stranger")
    assert "connection" in why(lambda: classify(server, Tls(authority.file, *stranger.issue("eve", name="olga"))))
    olga = authority.issue("olga", name="olga", names=())
    assert classify(server, Tls(authority.file, *olga)) == "green"
    camera = authority.issue("camera", name="c", names=(x509.UniformResourceIdentifier("spiffe://example/camera"),))
    assert classify(server, Tls(authority.file, *camera)) == "green"
    wait_for(lambda: len(noting.callers) == 2)
    assert noting.callers == {"cert:olga", "cert:spiffe://example/camera"}


async def test_the_client_of_asyncio_takes_tls_too(
    serve: Serve, authority: Authority, files: dict[str, Path], tmp_path: Path
) -> None:
    token = add(tmp_path / "tokens", "both", Scope.CLASSIFY, Scope.EMBED)
    server = serve(**files, token_file=tmp_path / "tokens", tls_client_ca=authority.file)
    tls = Tls(authority.file, *authority.issue("olga"))
    async with AsyncClient(server.app.address, tls=tls, token=token) as client:
        assert (await client.classify(IMAGE, neighbours=2)).label == "green"
        assert (await client.embed([IMAGE])).shape == (1, 8)
        assert (await client.model_info()).name == "tiny"
        assert [outcome.label async for _, outcome in client.stream([IMAGE] * 2)] == ["green"] * 2  # type: ignore[union-attr]


@pytest.mark.parametrize("workers", [0, 2])
def test_a_new_certificate_is_shown_to_new_connections(
    serve: Serve, authority: Authority, files: dict[str, Path], workers: int
) -> None:
    server = serve(**files, workers=workers)
    with Client(server.app.address, tls=Tls(ca=authority.file)) as old:
        assert old.classify(IMAGE).label == "green"
        first = serial_of(files["tls_cert"])
        assert shown_by(server.app.address) == first
        authority.issue("server", lasts=timedelta(days=90))
        second = serial_of(files["tls_cert"])
        shown = set()

        def only_the_second() -> bool:
            seen = {shown_by(server.app.address) for _ in range(4 * max(workers, 1))}  # each worker shows its own
            shown.update(seen)
            return seen == {second}

        wait_for(only_the_second)
        assert shown <= {first, second}
        assert old.classify(IMAGE).label == "green"  # on its old connection
        assert classify(server, Tls(ca=authority.file)) == "green"
    days = [(value - time.time()) / 86_400 for value in _expiries(server)]
    assert days
    assert all(89 < each < 91 for each in days)


def _expiries(server: Served) -> list[float]:
    families = text_string_to_metric_families(scrape(server.app.metrics_url))
    name = "holdfast_certificate_expiry_timestamp_seconds"
    return [sample.value for family in families for sample in family.samples if sample.name == name]


def test_a_broken_pair_leaves_the_old_one_and_is_told_by_a_metric(
    serve: Serve, authority: Authority, files: dict[str, Path], caplog: pytest.LogCaptureFixture
) -> None:
    server = serve(**files)
    whole, serial = files["tls_key"].read_bytes(), serial_of(files["tls_cert"])
    files["tls_key"].write_bytes(whole[:50])
    wait_for(lambda: server.metric("holdfast_access_file_current", file="certificate") == 0)
    assert shown_by(server.app.address) == serial
    assert classify(server, Tls(ca=authority.file)) == "green"
    assert len([record for record in caplog.records if record.levelno == logging.ERROR]) == 1
    files["tls_key"].write_bytes(whole)
    wait_for(lambda: server.metric("holdfast_access_file_current", file="certificate") == 1)
    assert server.metric("holdfast_access_file_reads_total", file="certificate", outcome="refused") >= 1
    assert classify(server, Tls(ca=authority.file)) == "green"


def test_the_admin_service_has_the_same_certificate_and_may_have_its_own_clients(
    serve: Serve, authority: Authority, files: dict[str, Path], tmp_path: Path
) -> None:
    token, operators = add(tmp_path / "tokens", "olga", Scope.ADMIN), Authority(tmp_path / "operators", "operators")
    server = serve(
        **files, admin_tls_client_ca=operators.file, token_file=tmp_path / "tokens", store=tmp_path / "store", admin_port=0
    )
    own = Tls(authority.file, *operators.issue("olga"))
    with AdminClient(server.app.admin_address, token, tls=own) as admin:
        assert admin.status().name == "tiny"
    with AdminClient(server.app.admin_address, token, tls=Tls(ca=authority.file)) as admin:
        why(admin.status)
    with Client(server.app.address, tls=Tls(ca=authority.file), token=token) as client:
        assert client.model_info().name == "tiny"


def test_a_connection_that_says_nothing_is_closed(serve: Serve, files: dict[str, Path]) -> None:
    server = serve(**files, handshake_timeout=1.0)
    host, _, port = server.app.address.rpartition(":")
    with socket.create_connection((host, int(port)), timeout=15) as silent:
        assert silent.recv(1) == b""


def test_commands_take_tls_and_tokens(
    serve: Serve,
    authority: Authority,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    chain, key = authority.issue("server")
    token = add(tmp_path / "tokens", "camera", Scope.CLASSIFY, Scope.ADMIN_READ)
    (tmp_path / "token").write_text(token + "\n")
    (tmp_path / "image.png").write_bytes(IMAGE)
    server = serve(tls_cert=chain, tls_key=key, token_file=tmp_path / "tokens", store=tmp_path / "store", admin_port=0)
    monkeypatch.delenv("HOLDFAST_TOKEN", raising=False)
    monkeypatch.delenv("HOLDFAST_ADMIN_TOKEN", raising=False)
    where = ["--address", server.app.address, "--ca", str(authority.file)]
    image, own = str(tmp_path / "image.png"), ["--token-file", str(tmp_path / "token")]
    assert main(["classify", image, *where, *own]) == 0
    assert main(["classify", image, *where]) != 0
    assert "HOLDFAST_TOKEN" in capsys.readouterr().err
    assert client_main(["health", *where]) == 0  # which needs no token
    monkeypatch.setenv("HOLDFAST_TOKEN", token)
    assert main(["classify", image, *where]) == 0
    assert client_main(["info", *where]) == 0
    assert main(["exemplars", "status", "--address", server.app.admin_address, "--ca", str(authority.file)]) == 0
    assert main(["classify", image, *where, "--token-file", str(tmp_path / "tokens")]) == 2  # the server's, with hashes
    assert token not in "".join(capsys.readouterr())


@pytest.mark.parametrize("workers", [0, 1])
def test_files_that_will_not_do_are_told_at_the_start(serve: Serve, files: dict[str, Path], workers: int) -> None:
    files["tls_key"].unlink()
    with pytest.raises(HoldfastError, match="server.key"):
        serve(**files, workers=workers)


def test_what_is_open_to_the_network_is_said_at_the_start(tiny_bundle: Path, tmp_path: Path, processes: list[Process]) -> None:
    process = Process(tiny_bundle, tmp_path, None, "--host", "0.0.0.0")  # noqa: S104
    processes.append(process)
    _, output = process.end()
    lines = [line for line in output.splitlines() if "WARNING" in line]
    assert len(lines) == 3, output
    assert all("on 0.0.0.0 " in line for line in lines)


@pytest.mark.parametrize(
    ("flags", "sentences"),
    [
        ("", 0),
        ("--host ::1", 0),
        ("--host localhost", 0),
        ("--host [::]", 3),
        ("--host 10.0.0.7 --token-file t", 2),
        ("--host 10.0.0.7 --tls-cert c --tls-key k", 2),
        ("--host 10.0.0.7 --tls-cert c --tls-key k --tls-client-ca a", 1),
        ("--host 10.0.0.7 --tls-cert c --tls-key k --token-file t --metrics-host 127.0.0.1", 0),
        ("--metrics-host 10.0.0.7", 1),
        ("--admin-host 10.0.0.7", 0),  # which is not offered
        ("--admin-host 10.0.0.7 --admin-token-file t", 1),
        ("--admin-host 10.0.0.7 --admin-token-file t --tls-cert c --tls-key k", 0),
    ],
)
def test_each_thing_that_is_open_is_a_sentence(flags: str, sentences: int) -> None:
    assert len(list(exposures(load_settings(["--bundle", "x", *flags.split()])))) == sentences
