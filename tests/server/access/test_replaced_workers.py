"""A worker that takes another's place while a file is broken goes on by what was read before, as the others do."""

import logging
import os
import signal
from pathlib import Path

import pytest

from holdfast.client import Client, ClientError, Tls
from holdfast.server.access.editing import remove_token
from tests.server.access.certificates import Authority
from tests.server.access.tokens import add
from tests.server.running import Serve, wait_for, workers_of
from tests.server.tiny import coloured, png

IMAGE = png(coloured(1, 1, seed=1)[0])


@pytest.mark.slow
def test_a_worker_is_replaced_while_files_are_broken(serve: Serve, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    tokens, authority = tmp_path / "tokens", Authority(tmp_path / "authority")
    token, removed = add(tokens, "camera"), add(tokens, "removed")
    chain, key = authority.issue("server")
    others = workers_of(os.getpid())
    server = serve(workers=1, token_file=tokens, tls_cert=chain, tls_key=key)
    (worker,) = workers_of(os.getpid()) - others

    def answer(token: str) -> str:
        with Client(server.app.address, tls=Tls(ca=authority.file), token=token, timeout=5) as client:
            try:
                return client.classify(IMAGE).label
            except ClientError as error:
                return error.code.name

    caplog.set_level(logging.INFO)
    remove_token(tokens, "removed")
    wait_for(lambda: any("token_file" in record.name for record in caplog.records))  # the engine, too, has seen it
    whole = tokens.read_text()
    for path in (tokens, chain, key):
        path.write_bytes(path.read_bytes()[:40])
    os.kill(worker, signal.SIGKILL)
    wait_for(lambda: workers_of(os.getpid()) - others - {worker} and answer(token) == "green", 60)
    assert answer(removed) == "UNAUTHENTICATED"
    assert server.metric("holdfast_access_file_current", file="tokens") == 0
    assert server.metric("holdfast_access_file_current", file="certificate") == 0
    tokens.write_text(whole)
    assert answer(add(tokens, "later")) == "green"
