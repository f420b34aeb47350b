"""How long one piece of work holds up a server's event loop: what large calls cost all others at the worst moment.

A real server with a clock on its event loop, and callers of large calls, one kind after the other. The clock counts the CPU of
the loop's own thread between two beats, which the machine's other work does not add to, and beside it the time that passed.

    python -m bench.stalls --bundle DIR [--callers 4] [--calls 5] [--json FILE] [-- flags of the server]
"""

import argparse
import asyncio
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import grpc.aio
import numpy as np

from bench.harness.environment import restart_with_one_thread
from bench.harness.report import Target, run_benchmark, show, write_json
from bench.hostile.attacker import ATTACKS
from bench.load import CLASSIFY, INFO, raw_requests
from bench.stalls.clock import Stall
from holdfast.console import track
from holdfast.flags import whole_number
from holdfast.protos.holdfast.v1 import holdfast_pb2
from holdfast.protos.inference import service_pb2

Info = holdfast_pb2.GetModelInfoResponse

BOUND_MS = 10.0
IMAGES, NEIGHBOURS = 256, 1000
EMBED, INFER = "/holdfast.v1.HoldfastService/Embed", "/inference.GRPCInferenceService/ModelInfer"
OPTIONS = [("grpc.max_receive_message_length", -1), ("grpc.use_local_subchannel_pool", 1)]
OF_NEIGHBOURS = ("neighbour_ids", "neighbour_labels", "neighbour_similarities")

FEW = 64
"""Images where pixels are listed one by one: more are more numbers than a call may have."""


@dataclass(frozen=True)
class ClockedServer:
    """A server whose loop has a clock."""

    address: str
    process: "subprocess.Popen[str]"

    def stalls(self) -> Stall:
        """The longest since this was asked last."""
        assert self.process.stdin is not None  # noqa: S101 - pipes, for certain
        assert self.process.stdout is not None  # noqa: S101
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        return Stall(**json.loads(self.process.stdout.readline()))


@contextmanager
def clocked_server(bundle: Path, *flags: str) -> Iterator[ClockedServer]:
    """Starts a server with a clock on free ports, and ends it."""
    command = [
        sys.executable,
        "-m",
        "bench.stalls.served",
        "--bundle",
        str(bundle),
        "--port",
        "0",
        "--metrics-port",
        "0",
        *flags,
    ]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None  # noqa: S101 - a pipe, for certain
        yield ClockedServer(json.loads(process.stdout.readline())["address"], process)
        assert process.stdin is not None  # noqa: S101 - a pipe, for certain
        process.stdin.close()


def _shape(info: Info) -> tuple[int, int, int]:
    return info.input.height, info.input.width, info.input.channels


def _classify(info: Info, **fields: Any) -> bytes:
    (request,) = raw_requests(_shape(info), count=IMAGES, images=IMAGES)
    return request + holdfast_pb2.ClassifyRequest(**fields).SerializeToString()  # protobuf's: fields of both


def _infer(info: Info, *outputs: str, raw: bool = True, **of_each: int) -> bytes:
    images, shape = IMAGES if raw else FEW, _shape(info)
    pixels = np.random.default_rng(0).integers(0, 256, (images, *shape), dtype=np.uint8)
    request = service_pb2.ModelInferRequest(model_name=info.name)
    request.parameters["neighbours"].int64_param = NEIGHBOURS
    tensor = request.inputs.add(name="image", datatype="UINT8", shape=pixels.shape)
    if raw:
        request.raw_input_contents.append(pixels.tobytes())
    else:
        tensor.contents.uint_contents.extend(pixels.reshape(-1).tolist())
    for name in outputs:
        wanted = request.outputs.add(name=name)
        for key, value in of_each.items():
            wanted.parameters[key].int64_param = value
    return request.SerializeToString()


def _long(name: str) -> bytes:
    return holdfast_pb2.ClassifyRequest(images=ATTACKS[name]()).SerializeToString()


CALLS: dict[str, tuple[str, Callable[[Info], bytes]]] = {
    "labels": (CLASSIFY, _classify),
    "all neighbours": (CLASSIFY, lambda info: _classify(info, neighbours=NEIGHBOURS)),
    "all neighbours, packed": (CLASSIFY, lambda info: _classify(info, neighbours=NEIGHBOURS, packed_neighbours=True)),
    "embeddings": (EMBED, _classify),
    "open inference, all neighbours": (INFER, lambda info: _infer(info, *OF_NEIGHBOURS)),
    "open inference, all neighbours, listed": (INFER, lambda info: _infer(info, *OF_NEIGHBOURS, raw=False)),
    "open inference, embeddings": (INFER, lambda info: _infer(info, "embedding", "label")),
    "open inference, classes as texts": (INFER, lambda info: _infer(info, "probabilities", classification=NEIGHBOURS)),
    "an image of 7 MB": (CLASSIFY, lambda _: _long("zeros-7-MB")),
    "7 MB of pixels": (CLASSIFY, lambda _: _long("raw-7-MB")),
}
"""Method and message of a large call, by name."""


async def _info(address: str) -> Info:
    async with grpc.aio.insecure_channel(address) as channel:
        info: Any = channel.unary_unary(INFO)
        return Info.FromString(await info(b""))


async def ask(served: ClockedServer, name: str, callers: int, calls: int) -> tuple[Stall, int]:
    """The longest stalls beside so many callers with so many calls each, and the bytes of a reply; 0 where all were refused."""
    method, make = CALLS[name]
    message, size = make(await _info(served.address)), 0

    async def caller() -> None:
        nonlocal size
        async with grpc.aio.insecure_channel(served.address, OPTIONS) as channel:
            call: Any = channel.unary_unary(method)
            for _ in range(calls):
                try:
                    size = len(await call(message))
                except grpc.aio.AioRpcError:
                    await asyncio.sleep(0.05)

    served.stalls()
    await asyncio.gather(*(caller() for _ in range(callers)))
    return served.stalls(), size


def main() -> int:
    """Runs the benchmark. Returns 0 where the target is met, else 1."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.stalls", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--bundle", type=Path, required=True, help="bundle to serve")
    parser.add_argument("--call", nargs="*", choices=CALLS, default=list(CALLS), metavar="NAME", help="default: all")
    parser.add_argument("--callers", type=whole_number(1), default=4, help="at a time (default: %(default)s)")
    parser.add_argument("--calls", type=whole_number(1), default=5, help="of each caller (default: %(default)s)")
    parser.add_argument("--json", type=Path, help="also write the numbers to this file")
    parser.add_argument("flags", nargs="*", help="more flags of the server, after --")
    options = parser.parse_args()
    restart_with_one_thread("bench.stalls")
    with clocked_server(options.bundle, *options.flags) as served:
        found = {
            name: asyncio.run(ask(served, name, options.callers, options.calls))
            for name in track(options.call, description="asking")
        }
    worst = max(found, key=lambda name: found[name][0].cpu)
    target = Target(f"longest stall of the event loop, ms of its CPU ({worst})", found[worst][0].cpu, BOUND_MS, at_least=False)
    rows = [[name, f"{size:,}", f"{stall.cpu:.1f}", f"{stall.wall:.1f}"] for name, (stall, size) in found.items()]
    show(
        f"{options.callers} callers of large calls",
        ["call", "bytes of a reply", "longest stall, ms of CPU", "of time"],
        rows,
        target,
    )
    if options.json:
        write_json(options.json, "stalls", {name: asdict(stall) for name, (stall, _) in found.items()}, target=target)
    return 0 if target.met else 1


if __name__ == "__main__":
    sys.exit(run_benchmark(main))
