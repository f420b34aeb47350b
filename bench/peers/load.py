"""One server asked by one process: a caller alone, many callers, and more than the server can answer.

Replies are looked at afterwards: a label that is not the classifier's own is an error.

    python -m bench.peers.load --peer NAME --address HOST:PORT --payload FILE --mark MARK
"""

import argparse
import json
import resource
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import uvloop

from bench.harness.server_process import Server
from bench.peers.calling import Caller, Calls, closed_loop, make_caller, open_loop
from bench.peers.payload import Payload
from bench.peers.processes import ProcessGroup
from bench.peers.table import BY_NAME
from bench.peers.wires import Wire
from holdfast.flags import positive, whole_number

OVERLOAD = 2.0
"""What is asked of a server in an open loop, by what it answered 64 callers."""


@dataclass(frozen=True)
class ClosedLoop:
    """Calls in a closed loop. CPU in microseconds an image; latencies in milliseconds; 0 for a batch that is not known."""

    calls: int
    failures: dict[str, int]
    images_per_second: float
    server_cpu: float
    caller_cpu: float
    p50: float
    p99: float
    batch: float


@dataclass(frozen=True)
class OpenLoop:
    """Calls in an open loop, of one image each: a second.

    Attributes:
        offered: calls that were due.
        good: answered within the deadline.
        failures: the others, by kind, in all.
        p99: of those that were answered, in milliseconds from when they were due.

    """

    offered: float
    good: float
    failures: dict[str, int]
    p99: float


class WrongAnswerError(Exception):
    """A server answered with another label than the classifier."""


class NoAnswerError(Exception):
    """A server failed every call."""


class Asker:
    """Asks one server."""

    def __init__(self, wire: Wire, caller: Caller, payload: Payload, server: Server, group: ProcessGroup) -> None:
        self._wire, self._caller, self._payload, self._server, self._group = wire, caller, payload, server, group

    def requests(self, images: int) -> list[bytes]:
        """Of so many images each."""
        files, wire = self._payload.files, self._wire
        bodies = [wire.body(files[start : start + images]) for start in range(0, len(files) - images + 1, images)]
        return bodies if wire.transport == "grpc" else [wire.http_request(body, self._server.address) for body in bodies]

    async def closed(self, callers: int, calls: int, images: int = 1) -> ClosedLoop:
        """So many callers, so many calls."""
        requests = self.requests(images)
        await closed_loop(self._caller, requests, callers=callers, calls=max(callers, calls // 8))
        batches = self._batches()
        before, own = self._group.cpu(), _own_cpu()
        found = await closed_loop(self._caller, requests, callers=callers, calls=calls)
        spent, own_spent = self._group.cpu() - before, _own_cpu() - own
        self.check(found, images)
        answered = images * len(found.replies)
        if answered == 0:
            raise NoAnswerError(f"no call was answered: {dict(found.failures)}")
        p50, p99 = _percentiles(found)
        return ClosedLoop(
            calls=calls,
            failures=dict(found.failures),
            images_per_second=answered / found.seconds,
            server_cpu=1e6 * spent / answered,
            caller_cpu=1e6 * own_spent / answered,
            p50=p50,
            p99=p99,
            batch=_mean_batch(batches, self._batches()),
        )

    async def overload(self, capacity: float, seconds: float, deadline: float) -> OpenLoop:
        """Twice the capacity."""
        rate = OVERLOAD * capacity
        found = await open_loop(self._caller, self.requests(1), rate=rate, seconds=seconds, deadline=deadline)
        self.check(found, 1)
        return OpenLoop(rate, len(found.replies) / seconds, dict(found.failures), _percentiles(found)[1])

    def _batches(self) -> tuple[float, float]:
        """Images and batches so far, as holdfast counts them; of others 0."""
        if not self._server.metrics:
            return 0.0, 0.0
        scraped = self._server.scrape()
        return scraped["holdfast_batch_images_sum"], scraped["holdfast_batch_images_count"]

    def check(self, found: Calls, images: int) -> None:
        """Every label. Raises WrongAnswerError."""
        if (labels_of := self._wire.labels) is None:
            return
        for number, reply in found.replies:
            expected = self._payload.labels[number * images : (number + 1) * images]
            answered = labels_of(reply)
            if answered != expected:
                raise WrongAnswerError(f"request {number} was answered {answered}, and the classifier says {expected}")


def _percentiles(found: Calls) -> Sequence[float]:
    if not found.latencies:
        return 0.0, 0.0
    p50, p99 = 1e3 * np.percentile(found.latencies, (50, 99))
    return float(p50), float(p99)


def _mean_batch(before: tuple[float, float], after: tuple[float, float]) -> float:
    return (after[0] - before[0]) / max(1.0, after[1] - before[1])


def _own_cpu() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


async def _measure(options: argparse.Namespace) -> dict[str, object]:
    peer = BY_NAME[options.peer]
    caller = make_caller(peer.wire, options.address)
    server = Server(options.address, options.metrics)
    asker = Asker(peer.wire, caller, Payload.load(options.payload), server, ProcessGroup(options.mark))
    found: dict[str, object] = {}
    try:
        if options.images > 1:
            found["many"] = asdict(await asker.closed(options.callers, options.calls, options.images))
            return found
        if options.alone:
            found["alone"] = asdict(await asker.closed(1, options.alone))
        found["crowd"] = asdict(crowd := await asker.closed(options.callers, options.calls))
        if options.overload:
            found["overload"] = asdict(await asker.overload(crowd.images_per_second, options.overload, options.deadline))
    finally:
        await caller.close()
    return found


def main() -> int:
    """Loads one server and prints one line of JSON. Returns 0, or raises."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.peers.load", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--peer", choices=sorted(BY_NAME), required=True, help="which kind of server it is")
    parser.add_argument("--address", required=True, help="host:port of the server")
    parser.add_argument("--payload", type=Path, required=True, help="file of images and labels")
    parser.add_argument("--mark", required=True, help="in the environment of its processes")
    parser.add_argument("--metrics", default="", help="address of holdfast's metrics")
    parser.add_argument("--callers", type=whole_number(1), default=64, help="side by side (default: %(default)s)")
    parser.add_argument("--calls", type=whole_number(1), default=2000, help="of all of them (default: %(default)s)")
    parser.add_argument("--alone", type=whole_number(0), default=0, help="calls of one caller (default: %(default)s)")
    parser.add_argument("--images", type=whole_number(1), default=1, help="in each call (default: %(default)s)")
    parser.add_argument("--overload", type=float, default=0.0, help="seconds at twice the capacity (default: none)")
    parser.add_argument("--deadline", type=positive, default=0.5, help="seconds, at twice the capacity (default: %(default)s)")
    options = parser.parse_args()
    print(json.dumps(uvloop.run(_measure(options))))
    return 0


if __name__ == "__main__":
    sys.exit(main())
