"""Serving on another device: what is said at the start, and that the answers are the same."""

import subprocess
import sys
import threading
from pathlib import Path

import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from holdfast.errors import DeviceError
from holdfast.model.answers import Floats
from holdfast.model.encoder.bucketed import BucketedEncoder
from holdfast.model.encoder.device import find_gpu
from holdfast.model.preprocess import Pixels
from holdfast.protos.holdfast.v1 import holdfast_pb2 as pb
from tests.holdfast.model.encoder.stand_in import NAME, pretend_gpu
from tests.refusals import one_line
from tests.server.running import REPOSITORY, Process, Serve, Served
from tests.server.tiny import coloured, raw

IMAGES = [raw(image) for label in range(3) for image in coloured(label, 7, seed=label)]


def fault() -> str:
    """What keeps this machine from serving on a GPU; "" where nothing does."""
    try:
        find_gpu()
    except DeviceError as error:
        return str(error)
    return ""


def test_a_server_on_the_gpu_answers_as_one_on_the_cpu(served: Served, serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    gpu = pretend_gpu(monkeypatch)
    sizes: dict[int, list[int]] = {}  # of each thread
    embed = BucketedEncoder.embed

    def watched(self: BucketedEncoder, images: Pixels) -> Floats:
        sizes.setdefault(threading.get_ident(), []).append(len(images))
        return embed(self, images)

    monkeypatch.setattr(BucketedEncoder, "embed", watched)
    fast = serve(device="cuda", max_batch=12, probe_rate=1.0, probe_budget=1.0, probe_steps=1)
    loading = next(iter(sizes))  # the thread that loads a version, and tries it in batches of any size
    # Every bucket, 16 pictures to compare with the CPU.
    assert sizes[loading][:6] == [12, 8, 4, 2, 1, 16]
    serving = [size for thread, of in sizes.items() if thread != loading for size in of]
    assert serving[:2] == [1, 12]  # the canaries, through the engine thread
    assert health_pb2_grpc.HealthStub(fast.channel).Check(health_pb2.HealthCheckRequest()).status == 1
    request = pb.ClassifyRequest(images=IMAGES, neighbours=5)
    expected, answers = served.stub.Classify(request).results, fast.stub.Classify(request).results
    for mine, theirs in zip(answers, expected, strict=True):
        assert mine.answer.label == theirs.answer.label
        assert [n.id for n in mine.answer.neighbours] == [n.id for n in theirs.answer.neighbours]
        assert mine.answer.soft_margin == pytest.approx(theirs.answer.soft_margin, abs=1e-4)
    serving = [size for thread, of in sizes.items() if thread != loading for size in of]
    assert max(serving) <= 12  # of calls and probes
    assert len(gpu.made) == 1  # the index is there too
    assert gpu.gradients == ["cpu"]  # the prober's: out of the answers' way
    assert fast.metric("holdfast_device_info", device="cuda", gpu=NAME) == 1
    assert served.metric("holdfast_device_info", device="cpu", gpu="") == 1


def test_a_gpu_that_is_not_there_is_one_line(tiny_bundle: Path) -> None:
    if not fault():
        pytest.skip("there is a GPU here")
    command = [sys.executable, "-m", "server", "--bundle", str(tiny_bundle), "--device", "cuda"]
    result = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert result.returncode == 2
    assert fault() in result.stderr
    one_line(result.stderr)
    assert result.stdout == ""


def test_auto_says_which_device_it_took_and_why(tiny_bundle: Path, tmp_path: Path, processes: list[Process]) -> None:
    missing = fault()
    process = Process(tiny_bundle, tmp_path, None, "--device", "auto")
    processes.append(process)
    assert process.stub.Classify(pb.ClassifyRequest(images=IMAGES[:1])).results[0].answer.label.name == "red"
    status, output = process.end()
    assert status == 0, output
    assert (f"cpu: {missing}" if missing else "cuda: ") in output


@pytest.mark.gpu
def test_it_serves_on_a_real_gpu(tiny_bundle: Path, tmp_path: Path, processes: list[Process]) -> None:
    if missing := fault():
        pytest.skip(missing)
    process = Process(tiny_bundle, tmp_path, None, "--device", "cuda")
    processes.append(process)
    results = process.stub.Classify(pb.ClassifyRequest(images=IMAGES)).results
    assert [result.answer.label.index for result in results] == [0] * 7 + [1] * 7 + [2] * 7
    assert 'holdfast_device_info{device="cuda"' in process.scrape()
    status, output = process.end()
    assert status == 0, output
    assert f"cuda: {find_gpu()}" in output
