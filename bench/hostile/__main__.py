"""How much slower an honest caller is answered while somebody sends what is made to cost much.

One server; an honest caller with one small PNG a call, over IPv4, alone and beside each attack, whose callers come over IPv6
and so are others to the server. The two are measured in turns, several rounds, and of each attack the median ratio of the 99th
percentiles counts. Attackers run at the lowest priority: on a machine of few cores their own CPU is no part of the attack.

    python -m bench.hostile --bundle DIR [--attack NAME ...] [--seconds 2] [--rounds 3] [--json FILE] [-- flags of the server]
"""

import argparse
import asyncio
import json
import statistics
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from bench.harness.environment import restart_with_one_thread
from bench.harness.report import Target, run_benchmark, show, write_json
from bench.harness.server_process import Server, running_server
from bench.hostile.attacker import ATTACKS
from bench.hostile.images import saved
from bench.load import Load, drive
from holdfast.console import track
from holdfast.errors import HoldfastError
from holdfast.flags import positive, whole_number
from holdfast.protos.holdfast.v1 import holdfast_pb2, image_pb2

BOUND = 3.0
SETTLE_S = 0.3
"""Between an attack's begin and the measurement, and after its end."""


@dataclass
class Beside:
    """One attack: the honest caller's 99th percentiles in milliseconds, alone and beside it, and how its calls ended."""

    alone: list[float] = field(default_factory=list)
    beside: list[float] = field(default_factory=list)
    failed: int = 0
    ended: Counter[str] = field(default_factory=Counter)

    @property
    def ratio(self) -> float:
        """The median over the rounds of beside over alone."""
        return statistics.median(b / a for a, b in zip(self.alone, self.beside, strict=True))


def honest_requests(count: int = 64) -> list[bytes]:
    """Serialised Classify calls of one PNG of 32 x 32 pixels each."""
    noise = np.random.default_rng(0).integers(0, 256, (count, 32, 32, 3), dtype=np.uint8)
    calls = [holdfast_pb2.ClassifyRequest(images=[image_pb2.Image(encoded=saved(image, "PNG"))]) for image in noise]
    return [call.SerializeToString() for call in calls]


def measure(server: Server, attack: str, rounds: int, seconds: float, callers: int) -> Beside:
    """Alone and beside, in turns."""
    port, requests, found = server.address.rpartition(":")[2], honest_requests(), Beside()

    def honest() -> Load:
        return asyncio.run(drive(f"127.0.0.1:{port}", requests, callers=1, seconds=seconds))

    for _ in range(rounds):
        found.alone.append(honest().p99)
        command = [sys.executable, "-m", "bench.hostile.attacker", "--address", f"[::1]:{port}", "--attack", attack]
        command += ["--callers", str(callers), "--seconds", str(seconds + 2 * SETTLE_S)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as attacker:
            assert attacker.stdout is not None  # noqa: S101 - a pipe, for certain
            attacker.stdout.readline()  # it begins
            time.sleep(SETTLE_S)
            load = honest()
            printed, _ = attacker.communicate()
        if not printed:
            raise HoldfastError("the attacker failed, for what it says above")
        found.beside.append(load.p99)
        found.failed += load.failed
        found.ended += Counter(json.loads(printed))
        time.sleep(SETTLE_S)
    return found


def main() -> int:
    """Runs the benchmark. Returns 0 where the target is met, else 1."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.hostile", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--bundle", type=Path, required=True, help="bundle to serve; the demo leaves one")
    parser.add_argument("--attack", nargs="*", choices=ATTACKS, default=list(ATTACKS), metavar="NAME", help="default: all")
    parser.add_argument("--callers", type=whole_number(1), default=4, help="of an attack (default: %(default)s)")
    parser.add_argument("--seconds", type=positive, default=2.0, help="of each turn (default: %(default)s)")
    parser.add_argument("--rounds", type=whole_number(1), default=3, help="turns of each (default: %(default)s)")
    parser.add_argument("--json", type=Path, help="also write the numbers to this file")
    parser.add_argument("flags", nargs="*", help="more flags of python -m server, after --")
    options = parser.parse_args()
    restart_with_one_thread("bench.hostile")
    with running_server(options.bundle, "--host", "::", *options.flags) as server:
        found = {
            attack: measure(server, attack, options.rounds, options.seconds, options.callers)
            for attack in track(options.attack, description="attacking")
        }
    worst = max(found, key=lambda attack: found[attack].ratio)
    target = Target(f"p99 beside / alone, worst of all ({worst})", found[worst].ratio, BOUND, at_least=False)
    rows = [
        [attack, f"{statistics.median(b.alone):.2f}", f"{statistics.median(b.beside):.2f}", f"{b.ratio:.2f}", _shown(b)]
        for attack, b in found.items()
    ]
    columns = ["attack", "p99 alone, ms", "beside, ms", "ratio", "how the attack's calls ended"]
    show(f"an honest caller beside {options.callers} callers", columns, rows, target)
    if options.json:
        write_json(options.json, "hostile", {attack: b.ratio for attack, b in found.items()}, target=target)
    return 0 if target.met else 1


def _shown(beside: Beside) -> str:
    ended = ", ".join(f"{count} {code}" for code, count in beside.ended.most_common())
    return f"{ended}; {beside.failed} honest calls failed" if beside.failed else ended


if __name__ == "__main__":
    sys.exit(run_benchmark(main))
