"""Decoder processes of a real server: nothing of a hostile image reaches other callers, and nothing stays behind."""

import signal
from pathlib import Path

import grpc
import pytest

from bench.hostile import images as hostile
from holdfast.protos.holdfast.v1 import holdfast_pb2 as pb
from holdfast.protos.holdfast.v1 import image_pb2
from tests.server.running import Process, Served, refusal, wait_for, workers_of
from tests.server.tiny import coloured, png, raw

HEAVY = hostile.flat_webp(4096, 4096)
SMALL = pb.ClassifyRequest(images=[raw(coloured(1, 1, seed=1)[0])])


def request(*encoded: bytes) -> pb.ClassifyRequest:
    return pb.ClassifyRequest(images=[image_pb2.Image(encoded=each) for each in encoded])


def descendants(process: int) -> set[int]:
    found: set[int] = set()
    for child in workers_of(process):
        found |= {child} | descendants(child)
    return found


def is_there(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


@pytest.mark.parametrize(("how", "workers"), [(signal.SIGTERM, 0), (signal.SIGKILL, 1)])
def test_a_server_that_ends_while_it_decodes_leaves_no_process(
    how: signal.Signals, workers: int, tiny_bundle: Path, tmp_path: Path, processes: list[Process]
) -> None:
    flags = ("--workers", str(workers), "--drain-notice", "0", "--drain-grace", "0.1", "--decode-call-limit", "1000")
    process = Process(tiny_bundle, tmp_path, None, *flags)
    processes.append(process)
    before = descendants(process.popen.pid)
    call = process.stub.Classify.future(request(*(16 * [HEAVY])))
    wait_for(lambda: descendants(process.popen.pid) - before)
    all_of_it = descendants(process.popen.pid)
    status, output = process.end(how)
    if how == signal.SIGTERM:
        assert "Traceback" not in output
        assert status == 1, output
        assert "cut off" in output
    wait_for(lambda: not any(map(is_there, all_of_it)))
    assert call.exception() is not None


def test_a_call_that_is_cancelled_frees_the_server(tiny_bundle: Path, tmp_path: Path, processes: list[Process]) -> None:
    process = Process(tiny_bundle, tmp_path, None, "--decode-call-limit", "1000")
    processes.append(process)
    call = process.stub.Classify.future(request(*(16 * [HEAVY])))
    wait_for(lambda: process.metric("holdfast_decode_queue_seconds"))
    call.cancel()
    wait_for(lambda: process.metric("holdfast_decode_queue_seconds") == 0)
    assert process.metric("holdfast_decode_abandoned_images_total") > 10
    assert process.stub.Classify(SMALL).results[0].answer.label.name == "green"


def test_a_bad_image_fails_itself_alone_among_costly_and_cheap_ones(served: Served) -> None:
    good = png(coloured(1, 1, seed=1)[0])
    bomb = hostile.text_bomb(b"zTXt", 3)
    whole = served.stub.Classify(request(good, b"no image", hostile.flat_png(900, 900), HEAVY[:-1], bomb, good))
    kinds = [result.WhichOneof("outcome") for result in whole.results]
    assert kinds == ["answer", "error", "answer", kinds[3], "answer", "answer"]
    assert whole.results[0].answer.label == whole.results[5].answer.label


def test_every_hostile_file_is_answered_or_refused(served: Served, shared_data: Path) -> None:
    files = [path for path in (shared_data / "hostile-images").iterdir() if path.suffix in {".bin", ".jpg"}]
    files += [path for path in (shared_data / "odd-images").rglob("*.*") if path.suffix in {".png", ".jpg", ".webp"}]
    results = served.stub.Classify(request(*(path.read_bytes() for path in files[:200]))).results
    assert {result.WhichOneof("outcome") for result in results} == {"answer", "error"}
    assert {result.error.code for result in results if result.HasField("error")} == {grpc.StatusCode.INVALID_ARGUMENT.value[0]}


def test_a_call_whose_images_cost_too_much_in_all_is_refused_in_one_line(served: Served) -> None:
    refused = refusal(lambda: served.stub.Classify(request(*(200 * [HEAVY]))))
    assert refused.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert served.metric("holdfast_decode_refused_images_total", limit="call") >= 200
