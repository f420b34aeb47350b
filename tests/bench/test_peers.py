"""The comparison with other servers: its own parts, and one whole run against plain grpcio on a synthetic bundle."""

import asyncio
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bench.harness.environment import prepared
from bench.peers import environments
from bench.peers.__main__ import NAMES
from bench.peers.calling import Caller, CallFailedError, HttpCaller, closed_loop, open_loop
from bench.peers.environments import NotInstalledError, python_of
from bench.peers.open_inference import ModelInferRequest, ModelInferResponse
from bench.peers.payload import Payload, make_payload
from bench.peers.processes import MARK, ProcessGroup
from bench.peers.report.page import markdown
from bench.peers.report.results import PeerResults, ResultsFile
from bench.peers.report.summary import rows_of, targets_of
from bench.peers.table import PEERS
from bench.peers.wires import OPEN_INFERENCE, file_over_http
from bench.synthetic import write_bundle
from holdfast.errors import HoldfastError

ROOT = Path(__file__).parents[2]


def run(*arguments):
    command = [sys.executable, "-m", "bench.peers", *(str(a) for a in arguments)]
    return subprocess.run(command, cwd=ROOT, env=prepared(), capture_output=True, text=True, check=False)


@pytest.mark.slow
def test_quick_compares_the_same_answers_and_goes_on_where_it_was(tmp_path):
    written, drawn = tmp_path / "r.json", tmp_path / "r.png"
    done = run("--quick", "--json", written, "--plot", drawn, "--markdown")
    assert done.returncode in {0, 1}, done.stderr
    (pair,) = json.loads(written.read_text())["bundles"]["synthetic"]["pairs"]["grpcio"]
    for side in ("holdfast", "peer"):
        found = pair[side]
        assert found["crowd"]["failures"] == {}
        assert all(found["crowd"][name] > 0 for name in ("server_cpu", "caller_cpu", "p50", "p99", "images_per_second"))
        assert found["overload"]["offered"] == pytest.approx(2 * found["crowd"]["images_per_second"])
        assert found["pss"] > 2**20
        assert found["start_seconds"] > 0
    assert pair["holdfast"]["crowd"]["batch"] >= 1
    assert drawn.read_bytes().startswith(b"\x89PNG")
    assert "| holdfast |" in done.stdout
    again = run("--quick", "--json", written)
    assert again.returncode == done.returncode, again.stderr
    assert json.loads(written.read_text())["bundles"]["synthetic"]["pairs"]["grpcio"] == [pair]


def test_every_peer_has_its_module_and_its_requirements():
    for peer in PEERS:
        assert (ROOT / "bench/peers/servers" / f"{peer.module}.py").exists()
        pins = (environments.REQUIREMENTS / f"{peer.requirements}.txt").read_text() if peer.requirements else "a==1"
        assert all("==" in line for line in pins.splitlines()), peer.name
    assert len(set(NAMES)) == len(NAMES)


def test_a_peer_that_cannot_be_installed_says_why(tmp_path, monkeypatch):
    (tmp_path / "bin").mkdir()
    uv = tmp_path / "bin" / "uv"
    uv.write_text("#!/bin/sh\necho no such version >&2\nexit 1\n")
    uv.chmod(0o755)
    (tmp_path / "some.txt").write_text("some==1\n")
    monkeypatch.setenv("PATH", str(uv.parent), prepend=os.pathsep)
    monkeypatch.setattr(environments, "REQUIREMENTS", tmp_path)
    for _ in range(2):  # what failed is tried again
        with pytest.raises(NotInstalledError, match="some cannot be installed here: no such version"):
            python_of("some", tmp_path / "cache")
    uv.write_text("#!/bin/sh\nexit 0\n")
    made = python_of("some", tmp_path / "cache")
    assert subprocess.run([made, "-c", ""], check=False).returncode == 0
    uv.write_text("#!/bin/sh\nexit 1\n")  # nor is it made again
    assert python_of("some", tmp_path / "cache") == made


def test_a_missing_peer_is_in_the_report():
    assert "mosec was not measured: no such version" in markdown(PeerResults({}, missing={"mosec": "no such version"}))


ORPHAN = "import subprocess, sys; subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])"


def test_a_group_knows_processes_whose_parents_are_gone():
    group = ProcessGroup("a-mark-of-this-test")
    subprocess.run([sys.executable, "-c", ORPHAN], env=os.environ | {MARK: group.mark}, check=True)
    assert len(group.pids()) == 1
    assert group.cpu() >= 0
    assert group.pss() > 0
    group.end(grace=5)
    assert group.pids() == set()


class Late(Caller):
    """Answers nothing before a moment; everything at once afterwards."""

    def __init__(self, until: float) -> None:
        self._until = until
        self.sent = 0

    async def call(self, request, timeout):  # noqa: ASYNC109
        self.sent += 1
        try:
            async with asyncio.timeout(timeout):
                await asyncio.sleep(self._until - time.perf_counter())
        except TimeoutError:
            raise CallFailedError("DEADLINE_EXCEEDED") from None
        return request

    async def close(self):
        pass


async def test_an_open_loop_goes_on_while_the_server_stands_still():
    server = Late(time.perf_counter() + 0.4)
    found = await open_loop(server, [b"a", b"b"], rate=200, seconds=0.6, deadline=0.2)
    assert server.sent == len(found.replies) + found.failures.total() == 120
    assert found.failures["DEADLINE_EXCEEDED"] >= 10
    assert max(found.latencies) >= 0.1  # those that came just before it went on have waited


async def test_a_closed_loop_makes_as_many_calls_as_it_is_told():
    found = await closed_loop(Late(0.0), [b"a", b"b", b"c"], callers=4, calls=10)
    assert sorted(number for number, _ in found.replies) == [0, 0, 0, 0, 1, 1, 1, 2, 2, 2]


async def test_http_replies_come_in_pieces_and_connections_end():
    served = []

    async def serve(reader, writer):
        served.append(writer)
        head = await reader.readuntil(b"\r\n\r\n")
        await reader.readexactly(3)
        assert head.startswith(b"POST /classify HTTP/1.1\r\n")
        status = b"200 OK" if len(served) < 3 else b"503 No"
        for piece in (b"HTTP/1.1 " + status + b"\r\nContent-", b"Length: 4\r\n", b"\r\nab", b"cd"):
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(0)
        if len(served) == 4:
            await asyncio.sleep(10)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    address = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    caller = HttpCaller(address)
    request = file_over_http("/classify").http_request(b"xyz", address)
    for _ in range(2):  # the second finds its connection closed, and a third is refused
        assert await caller.call(request, 5) == b"abcd"
        await asyncio.sleep(0.05)
    with pytest.raises(CallFailedError, match="503"):
        await caller.call(request, 5)
    await caller.close()
    server.close()


def test_tensors_are_read_in_both_forms():
    request = ModelInferRequest.FromString(OPEN_INFERENCE.body([b"abc"]))
    assert (request.inputs[0].datatype, list(request.inputs[0].shape)) == ("BYTES", [1, 1])
    assert request.raw_input_contents == [b"\x03\0\0\0abc"]
    raw = ModelInferResponse(raw_output_contents=[b"", (7).to_bytes(8, "little")])
    typed = ModelInferResponse()
    for reply in (raw, typed):
        for name in ("figures", "label"):
            reply.outputs.add(name=name)
    typed.outputs[1].contents.int64_contents.append(7)
    assert OPEN_INFERENCE.labels(raw.SerializeToString()) == OPEN_INFERENCE.labels(typed.SerializeToString()) == [7]


def test_the_payload_is_kept_and_its_labels_are_the_classifiers(tmp_path):
    bundle = write_bundle(tmp_path / "bundle")
    payload = make_payload(bundle, 8)
    payload.save(tmp_path / "p.npz")
    assert Payload.load(tmp_path / "p.npz") == payload
    assert len(payload.files) == len(set(payload.files)) == 8
    assert set(payload.labels) <= set(range(4))


def side(cpu, p50=2.0):
    loop = {"server_cpu": cpu, "caller_cpu": 50.0, "images_per_second": 1000.0, "p50": p50, "p99": 2 * p50, "batch": 32.0}
    return {"start_seconds": 2.0, "pss": 1e8, "alone": loop, "crowd": loop, "overload": {"good": 900.0}}


def test_ratios_are_of_pairs_and_the_cheapest_peer_counts():
    parts = {"decode": 40.0, "classify": 260.0, "batch": 32, "alone": 500.0}
    pairs = {
        "grpcio": [{"holdfast": side(a), "peer": side(b)} for a, b in ((400, 500), (100, 200), (600, 1000))],
        "mosec": [{"holdfast": side(400), "peer": side(320)}] * 2,
        "echo": [
            {"holdfast": side(500), "peer": side(100, 1.5), "parts": parts, "many_parts": parts, "many": {"server_cpu": 330.0}}
        ],
    }
    results = PeerResults({}, pairs)
    ours, mosec, grpcio = rows_of(results)
    assert (ours.ratio, mosec.ratio.median, grpcio.ratio.median) == (None, 1.25, 0.6)
    assert grpcio.goodput == 0.9
    values = [round(target.value, 3) for target in targets_of(results)]
    assert values == [0.6, 1.25, 1.25, 1.0, 1.1]
    assert [target.met for target in targets_of(results)] == [True, False, True, True, True]


def test_results_of_other_settings_or_other_files_are_refused(tmp_path):
    path = tmp_path / "r.json"
    kept = ResultsFile(path)
    kept.of("a", {"calls": 1}).add("mosec", {"holdfast": 1})
    kept.save()
    assert ResultsFile(path).of("a", {"calls": 1}).count("mosec") == 1
    with pytest.raises(HoldfastError, match="name another file"):
        ResultsFile(path).of("a", {"calls": 2})
    path.write_text('{"bench": "knn"}')
    with pytest.raises(HoldfastError, match=r"holds no results of bench\.peers"):
        ResultsFile(path)
