"""A server asked by processes of their own, and what it counted meanwhile."""

import json
import subprocess
import sys
from dataclasses import dataclass

from bench.harness.server_process import Server
from bench.load import Load
from holdfast.errors import HoldfastError


@dataclass(frozen=True)
class CallerReport:
    """What a server was asked, and what it counted meanwhile.

    Attributes:
        loads: of each process.
        mean_batch: images in one, that the server formed; the warm-up's are counted here and in its CPU.
        server_cpu: of all its processes, in microseconds an image.

    """

    loads: list[Load]
    mean_batch: float
    server_cpu: float


def run_callers(server: Server, *flags: object, processes: int = 1) -> CallerReport:
    """Run python -m bench.load with these flags, so many times side by side.

    Raises:
        HoldfastError: a process ended without saying what it measured.

    """
    command = [sys.executable, "-m", "bench.load", "--address", server.address, *map(str, flags)]
    before = server.scrape()
    asking = [subprocess.Popen(command, stdout=subprocess.PIPE) for _ in range(processes)]
    printed = [each.communicate()[0] for each in asking]
    if not all(printed):
        raise HoldfastError("a process that was to ask the server failed, for what it says above")
    grown = {name: value - before.get(name, 0.0) for name, value in server.scrape().items()}
    images = grown["holdfast_batch_images_sum"]
    return CallerReport(
        loads=[Load(**json.loads(each)) for each in printed],
        mean_batch=images / grown["holdfast_batch_images_count"],
        server_cpu=1e6 * grown["process_cpu_seconds_total"] / images,
    )
