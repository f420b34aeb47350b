"""A real server in a process of its own, as an operator would start it."""

import json
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from holdfast.errors import HoldfastError

START_SECONDS = 60.0


@dataclass(frozen=True)
class Server:
    """Where a running server is reached, and its process; `admin` where it has an admin service."""

    address: str
    metrics: str
    pid: int = 0
    admin: str = ""

    def samples(self) -> list[Sample]:
        """Every sample of /metrics."""
        with urllib.request.urlopen(self.metrics, timeout=10) as reply:  # noqa: S310 - our own http address
            text = reply.read().decode()
        return [sample for family in text_string_to_metric_families(text) for sample in family.samples]

    def totals(self) -> dict[str, float]:
        """Every sample of /metrics, by name: the sum over its labels, those of the server's processes too."""
        totals: dict[str, float] = defaultdict(float)
        for sample in self.samples():
            totals[sample.name] += sample.value
        return dict(totals)

    def scrape(self) -> dict[str, float]:
        """Every sample of /metrics that has no labels, by name; over all of the server's processes where it has several."""
        totals: dict[str, float] = defaultdict(float)
        for sample in self.samples():
            if sample.labels.keys() <= {"process"}:
                totals[sample.name] += sample.value
        return dict(totals)


@contextmanager
def running_server(bundle: Path, *flags: str) -> Iterator[Server]:
    """Starts `holdfast serve` on free ports, yields once it is warm, and ends it by SIGTERM.

    Raises HoldfastError, with what the server said, where it does not come up.
    """
    with tempfile.TemporaryDirectory() as folder:
        ports, log = Path(folder) / "ports.json", Path(folder) / "log"
        command = [sys.executable, "-m", "holdfast", "serve", "--bundle", str(bundle), "--port", "0", "--metrics-port", "0"]
        with log.open("wb") as output:
            process = subprocess.Popen([*command, "--port-file", str(ports), *flags], stdout=output, stderr=subprocess.STDOUT)
        try:
            _wait_for(ports, process, log)
            found = json.loads(ports.read_text())
            yield Server(found["address"], found["metrics"], process.pid, found.get("admin", ""))
        finally:
            process.terminate()
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _wait_for(ports: Path, process: "subprocess.Popen[bytes]", log: Path) -> None:
    end = time.monotonic() + START_SECONDS
    while not ports.exists():
        if process.poll() is not None or time.monotonic() > end:
            raise HoldfastError(f"the server did not start: {log.read_text(errors='replace').strip()}")
        time.sleep(0.05)
