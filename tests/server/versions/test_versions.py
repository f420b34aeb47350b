"""Versions change while real servers answer."""

import gc
import os
import shutil
import signal
import sys
import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc
import numpy as np
import pytest

from holdfast.errors import BundleError
from holdfast.protos.holdfast.v1 import holdfast_pb2 as pb
from holdfast.protos.holdfast.v1.holdfast_pb2_grpc import HoldfastServiceStub
from holdfast.server.settings import Settings
from holdfast.server.versions.loading import load_first
from holdfast.server.versions.records import (
    NoPreviousVersionError,
    UnknownVersionError,
    VersionRefusedError,
    VersionState,
)
from tests.bundles import Linear, of_every_colour, write_bundle, write_coloured_bundle
from tests.holdfast.bundle.hostile import Damage, bomb, column, header, hostile, outside
from tests.server.running import Process, Serve, Served, wait_for, workers_of
from tests.server.tiny import DIM, SIDE, coloured, raw
from tests.server.versions.places import put

SERVED, PREVIOUS, REFUSED, AVAILABLE = (
    VersionState.SERVED,
    VersionState.PREVIOUS,
    VersionState.REFUSED,
    VersionState.AVAILABLE,
)
ServeVersions = Callable[..., Served]
WORKERS = [0, pytest.param(2, marks=pytest.mark.skipif(sys.platform != "linux", reason="workers need Linux"))]


def name_of(served: Served | Process) -> str:
    """The name in the manifest of the model that is served."""
    return served.stub.GetModelInfo(pb.GetModelInfoRequest(), timeout=30).name


def states(served: Served) -> dict[str, VersionState]:
    return {record.name: record.state for record in served.loop.call(served.app.versions.list)}


def reason(served: Served, name: str) -> str:
    return next(record.reason for record in served.loop.call(served.app.versions.list) if record.name == name)


def reload(served: Served, name: str | None = None):
    return served.loop.run(served.app.versions.reload(name))


def rollback(served: Served):
    return served.loop.run(served.app.versions.rollback())


def outcomes(served: Served | Process) -> tuple[float, float, float]:
    return tuple(served.metric("holdfast_model_reloads_total", outcome=o) for o in ("served", "refused", "rolled_back"))


@contextmanager
def callers(address: str, count: int = 4) -> Iterator[list[str]]:
    """Threads that call without a pause, each on a connection of its own; a call that fails fails the test."""
    stopping, failures, labels = threading.Event(), [], []
    request = pb.ClassifyRequest(images=[raw(coloured(0, 1, seed=3)[0])] * 3, neighbours=2)

    def call() -> None:
        try:
            with grpc.insecure_channel(address, [("grpc.use_local_subchannel_pool", 1)]) as channel:
                stub = HoldfastServiceStub(channel)
                while not stopping.is_set():
                    names = {result.answer.label.name for result in stub.Classify(request, timeout=30).results}
                    assert names in ({"red"}, {"crimson"})  # never both: a call is answered by one version
                    labels.append(names.pop())
        except BaseException as error:  # noqa: BLE001 - raised again below
            failures.append(error)

    threads = [threading.Thread(target=call) for _ in range(count)]
    for thread in threads:
        thread.start()
    try:
        yield labels
    finally:
        stopping.set()
        for thread in threads:
            thread.join()
    if failures:
        raise failures[0]


@pytest.mark.parametrize("workers", WORKERS)
def test_a_version_that_appears_is_served_and_no_call_fails(
    serve_versions: ServeVersions, versions: Path, second_bundle: Path, tiny_bundle: Path, workers: int
) -> None:
    served = serve_versions(workers=workers)
    with callers(served.app.address) as labels:
        wait_for(lambda: labels)
        put(second_bundle, versions, "v9")
        wait_for(lambda: labels[-4:] == ["crimson"] * 4)
        put(tiny_bundle, versions, "v10")
        wait_for(lambda: labels[-4:] == ["red"] * 4)
        wait_for(lambda: outcomes(served) == (2, 0, 0))
    assert states(served) == {"v1": AVAILABLE, "v9": PREVIOUS, "v10": SERVED}
    assert served.metric("holdfast_model_version") == 3
    assert served.metric("holdfast_model_last_reload_timestamp_seconds") > 0


@pytest.mark.parametrize("keep_previous", [False, True])
def test_rollback_and_versions_by_name(
    serve_versions: ServeVersions, versions: Path, second_bundle: Path, tiny_bundle: Path, keep_previous: bool
) -> None:
    served = serve_versions(keep_previous=keep_previous)
    with pytest.raises(NoPreviousVersionError):
        rollback(served)
    put(second_bundle, versions, "v2")
    wait_for(lambda: states(served)["v2"] is SERVED)
    record = rollback(served)
    assert (record.name, record.state, name_of(served)) == ("v1", SERVED, "tiny")
    assert record.loaded_at is not None
    assert outcomes(served) == (1, 0, 1)
    with pytest.raises(NoPreviousVersionError):
        rollback(served)
    put(second_bundle, versions, "v3")  # the watcher has left v2 alone, and takes this
    wait_for(lambda: states(served)["v3"] is SERVED)
    assert "back" in reason(served, "v2")
    assert reload(served, "v2").name == "v2"
    with pytest.raises(UnknownVersionError, match="v4.*v3"):
        reload(served, "v4")
    assert states(served) == {"v1": AVAILABLE, "v2": SERVED, "v3": PREVIOUS}
    put(tiny_bundle, versions, "v4")  # and v3, which was passed over, is not taken before
    wait_for(lambda: states(served)["v4"] is SERVED)
    assert outcomes(served) == (4, 0, 1)
    assert reload(served).name == "v4"


def damage(bundle: Path, how: str) -> None:
    match how:
        case "no manifest":
            (bundle / "manifest.json").unlink()
        case "no index":
            (bundle / "index.faiss").unlink()
        case "half a file":
            os.truncate(bundle / "encoder.onnx", (bundle / "encoder.onnx").stat().st_size // 2)
        case "half a manifest":
            os.truncate(bundle / "manifest.json", 100)
        case "nothing in it":
            shutil.rmtree(bundle)
            bundle.mkdir()


@pytest.mark.parametrize("how", ["no manifest", "no index", "half a file", "half a manifest"])
def test_half_a_copy_is_refused_until_it_is_whole(
    serve_versions: ServeVersions,
    versions: Path,
    second_bundle: Path,
    how: str,
) -> None:
    served = serve_versions(watch_interval=0.02)
    damage(put(second_bundle, versions, ".v2"), how)
    (versions / ".v2").rename(versions / "v2")
    wait_for(lambda: states(served).get("v2") is REFUSED)
    assert str(versions / "v2") in reason(served, "v2")
    assert name_of(served) == "tiny"
    assert served.metric("holdfast_model_last_reload_successful") == 0
    with pytest.raises(VersionRefusedError, match="v2"):
        reload(served)
    refused = served.metric("holdfast_model_reloads_total", outcome="refused")
    assert refused == 2  # once by the watcher, which leaves it alone while it stays as it is, and once on request
    shutil.copytree(second_bundle, versions / "v2", dirs_exist_ok=True)
    wait_for(lambda: states(served)["v2"] is SERVED)
    assert name_of(served) == "second"
    assert served.metric("holdfast_model_last_reload_successful") == 1


def test_what_cannot_be_loaded_falls_back_to_the_next_newest(
    serve_versions: ServeVersions, versions: Path, second_bundle: Path
) -> None:
    damage(put(second_bundle, versions, "v3"), "no index")
    served = serve_versions()  # which begins with what can be served
    assert name_of(served) == "tiny"
    put(second_bundle, versions, "v2")  # older than what is refused, newer than what is served
    wait_for(lambda: states(served)["v2"] is SERVED)


def broken(directory: Path, how: str) -> Path:
    """A bundle whose hashes are right, and whose answers are not."""
    exemplars = of_every_colour(20, 0)
    encoder = Linear.of_colours(SIDE, DIM)
    match how:
        case "no embedding":
            encoder = Linear(np.zeros_like(encoder.weights), SIDE)
        case "labels of nothing":
            exemplars = exemplars[0], np.random.default_rng(0).permutation(exemplars[1])
    if how == "another input":
        encoder, exemplars = Linear.of_colours(9, DIM), of_every_colour(20, 0, side=9)
    return write_bundle(
        directory, encoder, ("red", "green", "blue"), exemplars=exemplars, gradient=how != "no gradient", disagreement=0.01
    )


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("no embedding", "length"),
        ("labels of nothing", "exemplars"),
        ("another input", r"\(9, 9, 3\)"),
        ("no gradient", "gradient"),
    ],
)
def test_a_version_that_fails_its_canary_is_refused(
    serve_versions: ServeVersions, versions: Path, tmp_path: Path, how: str, said: str
) -> None:
    served = serve_versions(probe_rate=0.5 if how == "no gradient" else 0.0)
    put(broken(tmp_path / "broken", how), versions, "v2")
    with pytest.raises(VersionRefusedError, match=said):
        reload(served, "v2")
    assert name_of(served) == "tiny"
    assert states(served) == {"v1": SERVED, "v2": REFUSED}


def test_a_bundle_is_read_again_and_the_one_before_comes_back_only_if_it_was_kept(
    serve: Serve, tmp_path: Path, tiny_bundle: Path, second_bundle: Path
) -> None:
    shutil.copytree(tiny_bundle, tmp_path / "bundle")
    servers = [serve(bundle=tmp_path / "bundle", keep_previous=keep) for keep in (False, True)]
    shutil.copytree(second_bundle, tmp_path / "bundle", dirs_exist_ok=True)
    for served, keep in zip(servers, (False, True), strict=True):
        assert reload(served).name == "bundle"
        assert reload(served).name == "bundle"  # the same once more is no other version
        assert name_of(served) == "second"
        if keep:
            rollback(served)
            assert name_of(served) == "tiny"
        else:
            with pytest.raises(VersionRefusedError, match="keep-previous"):
                rollback(served)
            assert name_of(served) == "second"


def test_the_memory_of_the_version_before_is_let_go(serve_versions: ServeVersions, versions: Path, second_bundle: Path) -> None:
    served = serve_versions()
    put(second_bundle, versions, "v2")
    gone = []
    for name in ("v2", "v1", "v2"):
        with callers(served.app.address, 2) as labels:
            wait_for(lambda labels=labels: labels)
            snapshot = served.app.holder.current
            gone += [weakref.ref(snapshot), weakref.ref(snapshot.classifier)]
            del snapshot
            reload(served, name)
    gc.collect()
    wait_for(lambda: [what() for what in gone] == [None] * 6)


@pytest.mark.parametrize("workers", WORKERS)
def test_sighup_reloads_the_engine_and_leaves_workers_alone(
    tiny_bundle: Path, second_bundle: Path, tmp_path: Path, processes: list[Process], workers: int
) -> None:
    (tmp_path / "current").symlink_to(tiny_bundle)
    process = Process(tmp_path / "current", tmp_path, None, "--workers", str(workers), session=True)
    processes.append(process)
    before = workers_of(process.popen.pid)
    with callers(process.address) as labels:
        wait_for(lambda: labels)
        (tmp_path / "next").symlink_to(second_bundle)
        (tmp_path / "next").rename(tmp_path / "current")
        os.killpg(process.popen.pid, signal.SIGHUP)
        wait_for(lambda: labels[-4:] == ["crimson"] * 4, 30)
    assert workers_of(process.popen.pid) == before
    (tmp_path / "next").symlink_to(tmp_path / "nowhere")
    (tmp_path / "next").rename(tmp_path / "current")
    os.killpg(process.popen.pid, signal.SIGHUP)
    wait_for(lambda: outcomes(process)[:2] == (1, 1))
    assert name_of(process) == "second"
    status, output = process.end()
    assert status == 0
    assert "nowhere" in output


@pytest.mark.slow
@pytest.mark.parametrize("workers", WORKERS)
def test_twenty_reloads_under_load_fail_no_call_and_keep_no_memory(
    tmp_path: Path, processes: list[Process], workers: int
) -> None:
    write_coloured_bundle(tmp_path / "bundle", dim=64, per_class=5000)
    process = Process(tmp_path / "bundle", tmp_path, None, "--workers", str(workers), "--probe-rate", "0.01")
    processes.append(process)
    resident = []
    with callers(process.address) as labels:
        for reloads in range(1, 21):
            process.popen.send_signal(signal.SIGHUP)
            wait_for(lambda reloads=reloads: outcomes(process)[0] == reloads, 120)
            answered = len(labels)
            wait_for(lambda answered=answered: len(labels) > answered + 100, 60)
            engine = {"process": "engine"} if workers else {}
            resident.append(process.metric("process_resident_memory_bytes", **engine))
    assert outcomes(process) == (20, 0, 0)
    assert process.metric("holdfast_model_version") == 21
    # One model kept at each reload would more than double it. How near it stays is measured by bench.live.reload.
    assert resident[-1] <= 1.25 * resident[1]


def test_nothing_to_serve_is_one_sentence(tmp_path: Path, tiny_bundle: Path) -> None:
    (tmp_path / "empty").mkdir()
    damage(put(tiny_bundle, tmp_path / "damaged", "v1"), "half a file")
    for versions, said in (("empty", "no version"), ("damaged", "sha256"), ("absent", "cannot be read")):
        with pytest.raises(BundleError, match=said):
            load_first(Settings(bundle_versions=tmp_path / versions))


@pytest.mark.parametrize(
    "damage",
    [
        column("exemplars.npz", "labels", lambda labels: labels.astype(np.float64)),
        header("exemplars.npz", "ids", "(1000000000000,)"),
        bomb("calibration.npz", "embeddings", 200),
        outside,
    ],
    ids=["labels", "header", "bomb", "outside"],
)
def test_a_version_made_to_harm_leaves_the_served_one(
    serve_versions: ServeVersions, versions: Path, second_bundle: Path, tmp_path: Path, damage: Damage
) -> None:
    served = serve_versions(watch_interval=0)
    put(hostile(second_bundle, tmp_path / "bad", damage), versions, "v2")
    with pytest.raises(VersionRefusedError):
        reload(served, "v2")
    assert name_of(served) == "tiny"
    assert states(served)["v2"] is REFUSED
    assert "\n" not in reason(served, "v2")
