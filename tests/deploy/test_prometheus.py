"""A real Prometheus, where there is one, scrapes a real server, and evaluates all that alerts and dashboard ask for."""

import json
import shutil
import subprocess
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import yaml

from holdfast.protos.holdfast.v1 import holdfast_pb2 as pb
from tests.server.api.admin import token_file
from tests.server.running import LoopThread, Served, free_port, start, wait_for
from tests.server.tiny import coloured, raw, write_bundle

DEPLOY = Path(__file__).parents[2] / "deploy"
PROGRAM = shutil.which("prometheus")

pytestmark = pytest.mark.skipif(PROGRAM is None, reason="there is no prometheus here (Debian's package of that name)")


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder, loop = tmp_path_factory.mktemp("scraped"), LoopThread()
    write_bundle(folder / "tiny")
    asked = {"admin_port": 0, "page_port": 0, "admin_token_file": token_file(folder / "tokens"), "store": folder / "store"}
    with ExitStack() as stack:
        stack.callback(loop.close)
        running = start(stack, loop, folder / "tiny", probe_rate=1.0, probe_budget=5.0, **asked)
        running.stub.Classify(pb.ClassifyRequest(images=[raw(image) for image in coloured(1, 8, seed=1)]))
        yield running


class Prometheus:
    def __init__(self, url: str) -> None:
        self._url = url

    def get(self, path: str, **asked: str) -> Any:
        with urllib.request.urlopen(f"{self._url}/api/v1/{path}?{urllib.parse.urlencode(asked)}", timeout=10) as reply:  # noqa: S310
            return json.load(reply)["data"]

    def value(self, expression: str) -> float | None:
        """The first sample of an expression; None where there is none. What is no PromQL is an error."""
        found = self.get("query", query=expression)["result"]
        return float(found[0]["value"][1]) if found else None

    def is_ready(self) -> bool:
        try:
            return self.value('up{job="holdfast"}') == 1
        except OSError:
            return False


@pytest.fixture(scope="module")
def prometheus(served: Served, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    """With the configuration of deploy/, but for the target and how often it looks."""
    folder, port = tmp_path_factory.mktemp("prometheus"), free_port()
    config = yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yaml").read_text())
    target = urllib.parse.urlsplit(served.app.metrics_url).netloc
    config["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s", "scrape_timeout": "1s"}
    config["scrape_configs"][0]["static_configs"] = [{"targets": [target]}]
    (folder / "prometheus.yaml").write_text(yaml.safe_dump(config))
    shutil.copy(DEPLOY / "prometheus" / "rules.yaml", folder)
    flags = [f"--config.file={folder / 'prometheus.yaml'}", f"--storage.tsdb.path={folder / 'data'}"]
    command = [PROGRAM or "", *flags, f"--web.listen-address=127.0.0.1:{port}"]
    with subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        running = Prometheus(f"http://127.0.0.1:{port}")
        try:
            wait_for(running.is_ready, 30)
            yield running
        finally:
            process.terminate()
            process.wait(20)


def test_it_reads_what_the_server_shows(prometheus: Prometheus) -> None:
    assert prometheus.value("holdfast_model_info") == 1
    wait_for(lambda: prometheus.value("holdfast_kth_neighbour_distance_count") == 8)


def test_it_evaluates_every_rule(prometheus: Prometheus) -> None:
    rules = [rule for group in prometheus.get("rules")["groups"] for rule in group["rules"]]
    assert len(rules) > 15
    wait_for(lambda: {rule["health"] for group in prometheus.get("rules")["groups"] for rule in group["rules"]} == {"ok"})
    assert [rule["name"] for rule in rules if rule["state"] == "firing"] == []


def test_it_takes_every_expression_of_the_dashboard(prometheus: Prometheus) -> None:
    panels = json.loads((DEPLOY / "grafana" / "holdfast.json").read_text())["panels"]
    expressions = [target["expr"] for panel in panels for target in panel["targets"]]
    assert len(expressions) > 25
    for expression in expressions:
        prometheus.value(expression.replace("$job", "holdfast").replace("$__rate_interval", "4s"))
