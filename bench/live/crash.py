"""A server that is killed again and again while its exemplars change: what was acknowledged must be there afterwards.

Callers add, relabel and delete exemplars as fast as they are answered. The server process is killed by SIGKILL at random
moments, and now and then half a write is put at the end of its journal, as a power cut may leave it. After each start all
exemplars are listed and compared with what was acknowledged: a change that is missing is lost, one of which a part is there is
half applied. Each caller then sends again what it had no answer to.

SIGKILL does not empty the disk's cache, so this says nothing of fsync: that a commit waits for the disk is SQLite's
synchronous=FULL.

    python -m bench.live.crash --bundle DIR [--changes 10000] [--kills 50] [--torn 5] [--json FILE]
"""

import argparse
import json
import random
import subprocess
import sys
import tempfile
import threading
import time
import zlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import grpc
import numpy as np

from bench.harness.report import run_benchmark
from holdfast.bundle.reader import read_manifest
from holdfast.errors import HoldfastError
from holdfast.flags import whole_number
from holdfast.protos.holdfast.admin.v1 import admin_pb2, exemplar_pb2
from holdfast.protos.holdfast.admin.v1.admin_pb2_grpc import AdminServiceStub
from holdfast.protos.holdfast.v1 import image_pb2

CALLERS = 4
START_SECONDS = 60.0
JOURNAL = "journal.sqlite-wal"


@dataclass(frozen=True)
class CrashReport:
    """What became of it.

    Attributes:
        changes: acknowledged.
        kills, torn: of the server, and half writes put at the end of its journal.
        lost, half_applied: changes; both have to be 0.
        folded: whether changes were folded into a bundle meanwhile.
        slowest_start_s: seconds from the command to a server that answers, libraries and bundle included.

    """

    changes: int
    kills: int
    torn: int
    lost: int
    half_applied: int
    folded: bool
    slowest_start_s: float


@dataclass
class Expected:
    """What one caller knows.

    Attributes:
        name: the begin of its sources.
        shape: of an image.
        labels: of its exemplars, by id.
        gone: ids that it has deleted.
        sizes: exemplars of each addition, by request.
        of: their ids, once it is acknowledged.
        pending: the change that it has no answer to.

    """

    name: str
    shape: tuple[int, int, int]
    labels: dict[int, str] = field(default_factory=dict)
    gone: set[int] = field(default_factory=set)
    sizes: dict[str, int] = field(default_factory=dict)
    of: dict[str, Sequence[int]] = field(default_factory=dict)
    pending: "Change | None" = None
    number: int = 0

    def next(self, draw: random.Random) -> "Change":
        """Another change; it is pending until it is acknowledged."""
        self.number += 1
        request = f"{self.name}-{self.number}"
        kind = draw.choices(("add", "relabel", "delete"), (6, 1, 1))[0] if len(self.labels) > 8 else "add"
        if kind == "add":
            count = draw.randint(1, 4)
            self.sizes[request] = count
            change = Change(request, kind, labels=[f"class {draw.randint(0, 5)}" for _ in range(count)])
        else:
            ids = draw.sample(sorted(self.labels), 2)
            change = Change(request, kind, ids=ids, labels=[f"class {draw.randint(0, 5)}"] * 2)
        self.pending = change
        return change

    def acknowledge(self, ids: Sequence[int]) -> None:
        """The pending change is made; ids are those of the answer to an addition."""
        change, self.pending = self.pending, None
        assert change is not None  # noqa: S101
        if change.kind == "delete":
            self.gone |= set(change.ids)
            for each in change.ids:
                del self.labels[each]
        else:
            if change.kind == "add":
                self.of[change.request] = ids
            self.labels |= dict(zip(change.ids or ids, change.labels, strict=True))


@dataclass(frozen=True)
class Change:
    """One request."""

    request: str
    kind: str
    labels: list[str]
    ids: list[int] = field(default_factory=list)

    def send(self, stub: AdminServiceStub, shape: tuple[int, int, int]) -> list[int]:
        """Make it. Returns the ids of what it added. Raises grpc.RpcError."""
        if self.kind == "delete":
            stub.DeleteExemplars(admin_pb2.DeleteExemplarsRequest(ids=self.ids, request_id=self.request), timeout=30)
            return []
        if self.kind == "relabel":
            updates = [exemplar_pb2.ExemplarUpdate(id=i, label=label) for i, label in zip(self.ids, self.labels, strict=True)]
            stub.UpdateExemplars(admin_pb2.UpdateExemplarsRequest(updates=updates, request_id=self.request), timeout=30)
            return []
        noise = np.random.default_rng(zlib.crc32(self.request.encode()))
        exemplars = [
            exemplar_pb2.NewExemplar(
                image=image_pb2.Image(
                    raw=image_pb2.RawImage(
                        data=noise.integers(0, 256, shape, dtype=np.uint8).tobytes(),
                        shape=shape,
                        dtype=image_pb2.DATA_TYPE_UINT8,
                    )
                ),
                label=label,
                source=f"{self.request}/{place}",
            )
            for place, label in enumerate(self.labels)
        ]
        reply = stub.AddExemplars(admin_pb2.AddExemplarsRequest(exemplars=exemplars, request_id=self.request), timeout=30)
        return [result.added.id for result in reply.results]


class Killed:
    """A server over a store, in a process that is made to be killed."""

    def __init__(self, bundle: Path, store: Path, scratch: Path, *flags: str) -> None:
        ports, log = scratch / "ports.json", scratch / "log"
        ports.unlink(missing_ok=True)
        command = [
            sys.executable,
            "-m",
            "holdfast",
            "serve",
            "--bundle",
            str(bundle),
            "--store",
            str(store),
            "--admin-insecure",
        ]
        command += ["--port", "0", "--metrics-port", "0", "--admin-port", "0", "--port-file", str(ports), *flags]
        began = time.monotonic()
        with log.open("ab") as output:
            self._process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)
        while not ports.exists():
            if self._process.poll() is not None or time.monotonic() > began + START_SECONDS:
                self.kill()
                raise HoldfastError(f"the server did not start: {log.read_text(errors='replace').strip()[-2000:]}")
            time.sleep(0.01)
        self.start_seconds = time.monotonic() - began
        self.channel = grpc.insecure_channel(json.loads(ports.read_text())["admin"])
        self.stub = AdminServiceStub(self.channel)

    def kill(self) -> None:
        """SIGKILL, and the end of it."""
        self._process.kill()
        self._process.wait()
        if hasattr(self, "channel"):
            self.channel.close()


class Harness:
    """Changes, kills and comparisons over one store.

    Args:
        bundle: to serve.
        shape: of its images.
        scratch: an empty folder.
        seed: of what is drawn.
        flags: of the server.

    """

    def __init__(self, bundle: Path, shape: tuple[int, int, int], scratch: Path, seed: int, *flags: str) -> None:
        self._bundle, self._scratch, self._flags, self._draw = bundle, scratch, flags, random.Random(seed)
        self.store = scratch / "store"
        self._callers = [Expected(f"caller{number}", shape) for number in range(CALLERS)]
        self._counting = threading.Lock()
        self.acknowledged = self.lost = self.half_applied = 0
        self.slowest_start = 0.0

    def live(self, quota: int) -> None:
        """Start, compare, send again what had no answer, change until so many are acknowledged in all, and be killed."""
        server = self.start()
        try:
            threads = [threading.Thread(target=self._call, args=(server, caller)) for caller in self._callers]
            for thread in threads:
                thread.start()
            while self.acknowledged < quota and any(thread.is_alive() for thread in threads):
                time.sleep(0.001)
            time.sleep(self._draw.random() * 0.05)
        finally:
            server.kill()
        for thread in threads:
            thread.join()

    def start(self) -> Killed:
        """A server on the store, of which everything that was acknowledged is there."""
        server = Killed(self._bundle, self.store, self._scratch, *self._flags)
        self.slowest_start = max(self.slowest_start, server.start_seconds)
        try:
            self._compare(_listed(server.stub))
            for caller in self._callers:
                if caller.pending is not None:
                    caller.acknowledge(caller.pending.send(server.stub, caller.shape))
                    self._count()
        except BaseException:
            server.kill()
            raise
        return server

    def tear(self) -> None:
        """Put half a write at the end of the journal: what a power cut leaves of a commit that nobody has seen the end of."""
        tail = self.store / JOURNAL
        if tail.exists() and tail.stat().st_size > 4152:
            frame = tail.read_bytes()[-4120:]
            with tail.open("ab") as file:
                file.write(frame + frame[: self._draw.randint(1, 4000)])

    def _call(self, server: Killed, caller: Expected) -> None:
        draw = random.Random(self._draw.random())
        while True:
            change = caller.next(draw)
            try:
                ids = change.send(server.stub, caller.shape)
            except grpc.RpcError:
                return  # it is sent again after the next start
            caller.acknowledge(ids)
            self._count()

    def _count(self) -> None:
        with self._counting:
            self.acknowledged += 1

    def _compare(self, there: dict[int, tuple[str, str]]) -> None:
        for caller in self._callers:
            undecided = caller.pending.ids if caller.pending is not None else []
            for each, label in caller.labels.items():
                if each not in undecided:
                    self.lost += there.get(each, ("", ""))[0] != label
            self.lost += sum(each in there for each in caller.gone)
            if caller.pending is not None:
                self.half_applied += _is_half_applied(caller.pending, caller, there)
            found: Counter[str] = Counter(source.rpartition("/")[0] for _, source in there.values())
            for request, size in caller.sizes.items():
                if request not in caller.of:
                    self.half_applied += found[request] not in {0, size}


def _is_half_applied(change: Change, caller: Expected, there: dict[int, tuple[str, str]]) -> bool:
    """Whether a part of a relabelling or a deletion is made and another is not."""
    if change.kind == "delete":
        return len({each in there for each in change.ids}) > 1
    if change.kind == "relabel":
        made = {there[each][0] == label for each, label in zip(change.ids, change.labels, strict=True) if each in there}
        same = any(caller.labels[each] == label for each, label in zip(change.ids, change.labels, strict=True))
        return len(made) > 1 and not same
    return False


def _listed(stub: AdminServiceStub) -> dict[int, tuple[str, str]]:
    """Label and source of every exemplar that is not deleted, by id."""
    found: dict[int, tuple[str, str]] = {}
    after = -1
    while True:
        reply = stub.ListExemplars(admin_pb2.ListExemplarsRequest(page_size=1000, after_id=after), timeout=60)
        found |= {each.id: (each.label, each.source) for each in reply.exemplars}
        if not reply.HasField("next_after_id"):
            return found
        after = reply.next_after_id


def crash(
    bundle: Path, shape: tuple[int, int, int], *, changes: int, kills: int, torn: int, seed: int = 0, flags: Sequence[str] = ()
) -> CrashReport:
    """Change exemplars of a server that is killed `kills` times, of which `torn` times its journal's tail is torn."""
    with tempfile.TemporaryDirectory() as folder:
        harness = Harness(bundle, shape, Path(folder), seed, *flags)
        tears = set(random.Random(seed).sample(range(kills), torn))
        for life in range(kills):
            harness.live(changes * (life + 1) // kills)
            if life in tears:
                harness.tear()
        harness.start().kill()
        bundles = harness.store / "bundles"
        return CrashReport(
            changes=harness.acknowledged,
            kills=kills,
            torn=torn,
            lost=harness.lost,
            half_applied=harness.half_applied,
            folded=bundles.is_dir() and any(bundles.iterdir()),
            slowest_start_s=round(harness.slowest_start, 2),
        )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m bench.live.crash", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--bundle", type=Path, required=True, help="to serve")
    parser.add_argument("--changes", type=whole_number(1), default=10_000, help="acknowledged in all (default: %(default)s)")
    parser.add_argument("--kills", type=whole_number(1), default=50, help="(default: %(default)s)")
    parser.add_argument(
        "--torn", type=whole_number(0), default=5, help="of them, half writes at the end of the journal (default: %(default)s)"
    )
    parser.add_argument(
        "--compact-after", type=whole_number(1), default=2000, help="changed rows that are folded (default: %(default)s)"
    )
    parser.add_argument("--json", type=Path, help="file for the report")
    return parser


def main() -> int:
    """Returns 0 where nothing was lost and nothing half applied, else 1."""
    parser = _parser()
    options = parser.parse_args()
    if options.torn > options.kills:
        parser.error(f"--torn {options.torn} of --kills {options.kills}: a tail is torn after a kill")
    shape = read_manifest(options.bundle).input.shape
    flags = ("--compact-after", str(options.compact_after), "--store-rate", "1e6")
    report = crash(options.bundle, shape, changes=options.changes, kills=options.kills, torn=options.torn, flags=flags)
    print(json.dumps(asdict(report)))
    if options.json:
        options.json.write_text(json.dumps(asdict(report)) + "\n")
    return int(report.lost > 0 or report.half_applied > 0)


if __name__ == "__main__":
    sys.exit(run_benchmark(main))
