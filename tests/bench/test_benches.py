"""The benchmarks at a size that takes seconds: that they run, agree with themselves, and say so in their exit code."""

import json
import os
import pkgutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import bench
from bench.harness import vectors
from bench.harness.callers import run_callers
from bench.harness.environment import prepared
from bench.harness.report import Spread, Target, warn_if_busy
from bench.harness.server_process import running_server
from bench.harness.timing import times_a_second
from bench.harness.vectors import unit_vectors
from bench.load import raw_requests
from bench.memory import mixture
from bench.synthetic import images, write_bundle
from holdfast.bundle.reader import Bundle
from holdfast.errors import HoldfastError
from holdfast.protos.holdfast.v1 import holdfast_pb2

ROOT = Path(__file__).parents[2]


def commands():
    """Every module of bench that can be typed after python -m."""
    for module in pkgutil.walk_packages(bench.__path__, "bench."):
        if "\nif __name__ == " in Path(find_spec(module.name).origin).read_text():
            yield module.name.removesuffix(".__main__")


SHOW_HELP = """
import json, runpy, sys, warnings
from contextlib import redirect_stdout
from io import StringIO
warnings.simplefilter("ignore")  # of modules that another one has imported
shown = {}
for name in sys.argv[1:]:
    sys.argv[1:] = ["--help"]
    with redirect_stdout(StringIO()) as out:
        try:
            runpy.run_module(name, run_name="__main__", alter_sys=True)
        except SystemExit as end:
            shown[name] = (end.code, out.getvalue())
print(json.dumps(shown))
"""


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return write_bundle(tmp_path_factory.mktemp("bench") / "bundle")


def run(*arguments):
    command = [sys.executable, "-m", *(str(a) for a in arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def test_the_synthetic_bundle_classifies_its_own_images(bundle):
    pixels, labels = images(20, seed=11)
    answers = bundle.classifier().classify(pixels)
    assert np.array_equal(answers.labels, labels)
    assert np.isfinite(answers.credibility).all()


def test_the_synthetic_gradient_is_that_of_its_encoder(bundle):
    """d<z, v> along any direction, against a difference of one grey level in every pixel of that direction."""
    rng = np.random.default_rng(0)
    pixels = np.clip(images(1, seed=12)[0], 1, 254)
    cotangents = rng.standard_normal((len(pixels), bundle.encoder.dim)).astype(np.float32)
    gradients = bundle.gradient.vjp(pixels.astype(np.float32) / np.float32(255), cotangents)
    step = rng.choice([-1, 1], pixels.shape)
    up, down = ((pixels + sign * step).astype(np.uint8) for sign in (1, -1))
    rise = ((bundle.encoder.embed(up) - bundle.encoder.embed(down)) * cotangents).sum(axis=1)
    predicted = (gradients * step * 2 / 255).sum(axis=(1, 2, 3))
    assert rise == pytest.approx(predicted, rel=0.01, abs=1e-4)


def test_targets_and_spreads():
    assert Target("ratio", 0.7, 0.7, at_least=True).met
    assert not Target("ratio", 0.69, 0.7, at_least=True).met
    assert Target("ratio", 1.5, 1.5, at_least=False).met
    assert "missed" in str(Target("ratio", 1.51, 1.5, at_least=False))
    assert Spread.of([1, 2, 3, 4, 5]) == Spread(2, 3, 4)


def test_a_busy_machine_is_remarked_on(capsys):
    warn_if_busy(0.1, 2)
    assert capsys.readouterr().err == ""
    warn_if_busy(2.0, 2)
    assert "busy" in capsys.readouterr().err


def test_the_environment_has_one_thread_and_is_not_the_servers_business():
    environment = prepared()
    assert environment["OMP_NUM_THREADS"] == environment["OPENBLAS_NUM_THREADS"] == "1"
    assert not any(name.startswith("HOLDFAST_") for name in set(environment) - set(os.environ))


def test_every_command_has_help():
    """All of them in one process, which imports torch once."""
    names = sorted(commands())
    assert {"bench.gpu", "bench.knn", "bench.live.crash", "bench.planted"} <= set(names)
    environment = os.environ | {"BENCH_IS_PREPARED": "1"}  # none begins itself again
    command = [sys.executable, "-c", SHOW_HELP, *names]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    shown = json.loads(done.stdout)
    assert [name for name in names if shown[name][0] != 0] == []
    assert [name for name in names if f"python -m {name}" not in shown[name][1]] == []


def test_knn_prints_a_ratio_and_writes_it(tmp_path):
    done = run("bench.knn", "--rows", 2000, "--dim", 32, "--batch", 16, "--k", 5, "--rounds", 3, "--json", tmp_path / "r.json")
    result = json.loads((tmp_path / "r.json").read_text())
    assert done.returncode == (0 if result["met"] else 1), done.stderr
    assert result["ratio_low"] <= result["ratio"] <= result["ratio_high"]
    assert "target <= 1.5" in done.stdout


@pytest.mark.slow
def test_retrieval_builds_tunes_and_draws(tmp_path):
    drawn, written = tmp_path / "cost.png", tmp_path / "r.json"
    command = ("bench.retrieval", "--bundle", ROOT / "bundles/cifar10-small", "--rows", 3000, "--pairs", 2, "--dim", 16)
    done = run(*command, "--plot", drawn, "--json", written)
    assert done.returncode == 0, done.stderr
    assert drawn.read_bytes().startswith(b"\x89PNG")
    real, synthetic = json.loads(written.read_text())["measured"]
    assert (real["data"], synthetic["data"], synthetic["rows"]) == ("real", "synthetic", 3000)
    for each in (real, synthetic):
        assert each["tuned"][0] >= 0.999 * each["tuned"][1]
        assert 0.9 < each["agreement"][0] / each["agreement"][1] <= 1
        assert set(each["ratio"]) == {"1", "64"}


@pytest.mark.slow
def test_indexing_says_what_it_took_of_all_processes(tmp_path):
    peaks = []
    for number, words in enumerate(((), ("--processes", 2))):
        done = run("bench.indexing.build", "--images", 4000, *words, "--json", tmp_path / f"{number}.json")
        result = json.loads((tmp_path / f"{number}.json").read_text())
        assert done.returncode == (0 if result["met"] else 1), done.stderr
        peaks.append(result["peak_mb"])
    assert 50 < peaks[0] < 600
    assert peaks[1] > 1.5 * peaks[0]


@pytest.mark.slow
def test_training_prints_a_ratio_of_the_same_passes(tmp_path):
    done = run("bench.training", "--width", 4, "--batch", 16, "--steps", 2, "--pairs", 2, "--json", tmp_path / "r.json")
    result = json.loads((tmp_path / "r.json").read_text())
    assert done.returncode == (0 if result["met"] else 1), done.stderr
    assert result["ratio_low"] <= result["ratio"] <= result["ratio_high"]
    assert "target >= 0.85" in done.stdout


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Four pictures of noise."""
    folder = tmp_path_factory.mktemp("photos")
    for number in range(4):
        noise = np.random.default_rng(number).integers(0, 256, (90, 120, 3), dtype=np.uint8)
        Image.fromarray(noise).save(folder / f"{number}.jpg")
    return folder


@pytest.mark.slow
def test_a_training_that_decodes_is_compared_with_decoding_and_with_its_passes(photos, tmp_path):
    small = ("--images", 500, "--side", 64, "--width", 4, "--batch", 16, "--steps", 4, "--pairs", 2)
    done = run("bench.streaming.training", "--photos", photos, *small, "--json", tmp_path / "r.json")
    result = json.loads((tmp_path / "r.json").read_text())
    assert done.returncode == (0 if result["met"] else 1), done.stderr
    assert result["early_mb"] > 50 < result["late_mb"]
    assert "target >= 0.85" in done.stdout


@pytest.mark.slow
def test_photographs_in_shards_are_indexed_and_counted(photos, tmp_path):
    done = run("bench.streaming.index", "--photos", photos, "--images", 1_000, "--side", 48, "--json", tmp_path / "r.json")
    result = json.loads((tmp_path / "r.json").read_text())
    assert done.returncode == (0 if result["met"] else 1), done.stderr
    assert result["images"] == 1_000


@pytest.mark.slow
@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="threads are compared on at least two cores")
def test_threads_are_compared_on_the_same_training(tmp_path):
    small = ("--width", 4, "--batch", 16, "--steps", 2, "--pairs", 2)
    done = run("bench.threads", *small, "--json", tmp_path / "r.json")
    result = json.loads((tmp_path / "r.json").read_text())
    assert done.returncode == (0 if result["met"] else 1), done.stderr
    assert result["ratio_low"] <= result["ratio"] <= result["ratio_high"]
    assert "target >= 1.6" in done.stdout
    assert "must be between 2 and" in run("bench.threads", "--threads", 1).stderr


def test_serving_compares_the_same_work(bundle, tmp_path):
    """What is compared, and not how it came out: on a busy machine either side may be the slower one."""
    flags = ("--callers", 8, "--seconds", 0.3, "--rounds", 2, "--json", tmp_path / "r.json")
    done = run("bench.serving", "--bundle", bundle.directory, *flags)
    result = json.loads((tmp_path / "r.json").read_text())
    assert done.returncode == (0 if result["met"] else 1), done.stderr
    assert result["met"] == (result["ratio"] >= result["bound"])
    assert 1 <= result["batch"] <= 8
    assert all(result[name] > 0 for name in ("served", "looped", "ratio", "server_cpu", "caller_cpu", "p50", "p99"))


def test_callers_that_cannot_start_say_so(bundle):
    with running_server(bundle.directory) as server, pytest.raises(HoldfastError, match="failed, for what it says above"):
        run_callers(server, "--no-such-flag")


def test_vectors_are_of_unit_length_however_many_are_made_at_once(monkeypatch):
    whole = unit_vectors(np.random.default_rng(0), 10, 5)
    monkeypatch.setattr(vectors, "AT_ONCE", 3)
    assert np.array_equal(unit_vectors(np.random.default_rng(0), 10, 5), whole)
    assert np.linalg.norm(whole, axis=1) == pytest.approx(1)


def test_slow_work_is_done_once_at_least():
    done = []
    assert times_a_second(lambda: done.append(1), 0.0) > 0
    assert done == [1]


def test_memory_reads_the_servers_own_number(bundle, tmp_path):
    done = run("bench.memory", "--bundle", bundle.directory, "--requests", 200, "--json", tmp_path / "r.json")
    result = json.loads((tmp_path / "r.json").read_text())
    assert done.returncode == (0 if result["met"] else 1), done.stderr
    assert result["ratio"] == pytest.approx(result["mib_after_200"] / result["mib_after_20"])
    assert result["mib_after_20"] > 20


def test_a_server_that_does_not_start_says_why(tmp_path):
    with pytest.raises(HoldfastError, match="nothing is in it"), running_server(tmp_path):
        pass


def test_the_mixture_has_every_kind_of_call(bundle):
    calls = [holdfast_pb2.ClassifyRequest.FromString(call) for call in mixture(bundle.manifest.input.shape)]
    assert {len(call.images) for call in calls} == {1, 16}
    assert {call.images[0].WhichOneof("source") for call in calls} == {"encoded", "raw"}
    assert {call.neighbours for call in calls} == {0, 1, 2}
    assert len(set(raw_requests((32, 32, 3), count=10))) == 10


@pytest.mark.slow
def test_soak_lets_strangers_come_and_go(bundle, tmp_path):
    done = run(
        "bench.exposed.soak", "--bundle", bundle.directory, "--minutes", 0.05, "--callers", 4, "--json", tmp_path / "r.json"
    )
    result = json.loads((tmp_path / "r.json").read_text())
    assert result["unforeseen"] == 0, done.stdout
    assert result["ended"]["OK"] > 0
    assert len(result["resident_mib"]) == len(result["files"])
    assert done.returncode == (0 if result["met"] else 1)


def test_two_bundles_are_compared(bundle, tmp_path):
    short = ("--batch", 4, "--seconds", 0.01, "--rounds", 2)
    done = run(
        "bench.engine", "--bundle", bundle.directory, "--against", bundle.directory, *short, "--json", tmp_path / "r.json"
    )
    assert done.returncode == 0, done.stderr
    result = json.loads((tmp_path / "r.json").read_text())
    assert result["ratio_low"] <= result["ratio"] <= result["ratio_high"]
