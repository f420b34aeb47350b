"""What alerts, dashboard and autoscaler ask for is what a server shows."""

import json
import re
from collections import defaultdict
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from holdfast.protos.holdfast.v1 import holdfast_pb2 as pb
from holdfast.protos.holdfast.v1 import image_pb2
from tests.server.api.admin import token_file
from tests.server.api.page.browsing import visit
from tests.server.running import REPOSITORY, LoopThread, Served, refusal, scrape, start
from tests.server.tiny import coloured, png

DEPLOY = REPOSITORY / "deploy"
NAME = re.compile(r"\b(?:holdfast|grpc_server|process)_\w+")
MATCHED = re.compile(r"\b((?:holdfast|grpc_server|process)_\w+)\{([^}]*)\}")
GROUPED = re.compile(r"\bby \(([\w, ]+)\)")
LABEL = re.compile(r'(\w+)\s*(?:=|!=|=~|!~)\s*"')
BY_PROMETHEUS = {"job", "instance", "namespace", "pod"}
SUFFIXES = {"counter": ("_total",), "gauge": ("",), "histogram": ("_bucket", "_sum", "_count"), "info": ("_info",)}


def dashboard() -> dict[str, Any]:
    read: dict[str, Any] = json.loads((DEPLOY / "grafana" / "holdfast.json").read_text())
    return read


def expressions() -> Iterator[tuple[str, str]]:
    """(where, PromQL) of all that is deployed."""
    for group in yaml.safe_load((DEPLOY / "prometheus" / "rules.yaml").read_text())["groups"]:
        yield from ((rule["alert"], rule["expr"]) for rule in group["rules"])
    for panel in dashboard()["panels"]:
        yield from ((panel["title"], target["expr"]) for target in panel["targets"])
    for variable in dashboard()["templating"]["list"]:
        yield variable["name"], variable.get("definition", "")
    rules = yaml.safe_load((DEPLOY / "kubernetes" / "autoscaling" / "adapter.yaml").read_text())["rules"]["custom"]
    yield from (("adapter", rule["seriesQuery"]) for rule in rules)


@pytest.fixture(scope="module")
def shown(
    served: Served, tiny_bundle: Path, loop_thread: LoopThread, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, set[str]]:
    """The labels of each sample that servers show after an answer, a refusal, a bad image; by workers, or with all there is."""
    folder = tmp_path_factory.mktemp("operated")
    operated = {"page_port": 0, "admin_port": 0, "admin_token_file": token_file(folder / "tokens"), "store": folder / "store"}
    operated |= {"keep_share": 1.0, "spool": folder / "spool", "shadow": tiny_bundle}
    image = image_pb2.Image(encoded=png(coloured(0, 1, seed=900)[0]))
    served.stub.Classify(pb.ClassifyRequest(images=[image, image_pb2.Image()]))
    refusal(lambda: served.stub.Classify(pb.ClassifyRequest()))
    with ExitStack() as stack:
        workers = start(stack, loop_thread, tiny_bundle, workers=1)
        operator = start(stack, loop_thread, tiny_bundle, **operated)
        visit(operator).sign_in("a token of nobody's")
        text = "".join(scrape(each.app.metrics_url) for each in (served, workers, operator))
    labels: dict[str, set[str]] = defaultdict(set)
    for family in text_string_to_metric_families(text):
        for suffix in SUFFIXES.get(family.type, ("",)):
            labels[family.name.removesuffix("_info") + suffix if family.type == "info" else family.name + suffix] |= set()
        for sample in family.samples:
            labels[sample.name] |= set(sample.labels)
    return labels


def test_every_metric_that_is_asked_for_exists(shown: dict[str, set[str]]) -> None:
    asked = {(where, name) for where, expression in expressions() for name in NAME.findall(expression)}
    assert len(asked) > 30
    assert {(where, name) for where, name in asked if name not in shown} == set()


def test_every_label_that_is_asked_for_exists(shown: dict[str, set[str]]) -> None:
    asked = [
        (where, name, label)
        for where, expression in expressions()
        for name, matchers in MATCHED.findall(expression)
        for label in LABEL.findall(matchers)
        if label not in BY_PROMETHEUS and shown[name]
    ]
    assert len(asked) > 5
    assert [each for each in asked if each[2] not in shown[each[1]]] == []


def test_every_label_that_is_grouped_by_exists(shown: dict[str, set[str]]) -> None:
    grouped = [
        (where, label, [shown[name] for name in NAME.findall(expression)])
        for where, expression in expressions()
        for labels in GROUPED.findall(expression)
        for label in re.findall(r"\w+", labels)
        if label not in BY_PROMETHEUS
    ]
    assert len(grouped) > 5
    assert [each[:2] for each in grouped if all(each[2]) and not any(each[1] in labels for labels in each[2])] == []


def test_panels_have_numbers_of_their_own_and_do_not_overlap() -> None:
    panels = dashboard()["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    covered = [
        (x, y)
        for at in (panel["gridPos"] for panel in panels)
        for x in range(at["x"], at["x"] + at["w"])
        for y in range(at["y"], at["y"] + at["h"])
    ]
    assert len(set(covered)) == len(covered)
    assert max(x for x, _ in covered) < 24
