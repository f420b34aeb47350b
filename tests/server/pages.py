"""The page of metrics, asked for in several ways, and whether its formats are valid."""

import http.client
import shutil
import subprocess
from urllib.parse import urlsplit

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as open_metrics

OPEN_METRICS = "application/openmetrics-text; version=1.0.0"


def address_of(url: str) -> tuple[str, int]:
    parts = urlsplit(url)
    return parts.hostname or "", parts.port or 0


def asked(url: str, method: str = "GET", path: str = "/metrics", **headers: str) -> tuple[http.client.HTTPResponse, bytes]:
    connection = http.client.HTTPConnection(*address_of(url), timeout=10)
    connection.request(method, path, headers={name.replace("_", "-"): value for name, value in headers.items()})
    reply = connection.getresponse()
    return reply, reply.read()


def check_formats(url: str) -> None:
    """Both formats by their strict parsers, and by Prometheus' own where it is installed."""
    families = {family.name for family in open_metrics(asked(url, Accept=OPEN_METRICS)[1].decode())}
    assert {"holdfast_soft_margin", "grpc_server_handled", "holdfast_bundle"} <= families
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("there is no promtool here (of Debian's package prometheus)")
    checked = subprocess.run([promtool, "check", "metrics"], input=asked(url)[1], capture_output=True, check=False)
    assert (checked.returncode, checked.stdout, checked.stderr.strip()) == (0, b"", b"")
