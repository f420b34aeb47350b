"""The alerts by promtool, where it is installed, and what compose mounts where."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from holdfast.server.settings import Settings

DEPLOY = Path(__file__).parents[2] / "deploy"
COMPOSE = DEPLOY / "compose"


def promtool(*arguments):
    program = shutil.which("promtool")
    if program is None:
        pytest.skip("promtool is not installed; it comes with Debian's package prometheus")
    done = subprocess.run([program, *arguments], cwd=DEPLOY / "prometheus", capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_promtool_takes_the_configuration_and_the_rules():
    promtool("check", "config", "prometheus.yaml")


def test_alerts_fire_when_they_should():
    promtool("test", "rules", "rules_test.yaml")


def compose():
    return yaml.safe_load((COMPOSE / "compose.yaml").read_text())


def volumes_of(service):
    """(source, target) of each volume, with the defaults of variables."""
    texts = [re.sub(r"\$\{\w+:-(.*?)\}", r"\1", each) for each in service["volumes"]]
    return [tuple(each.split(":")[:2]) for each in texts]


def mounts_of(service):
    """Those of folders of this repository."""
    return [(COMPOSE / source, target) for source, target in volumes_of(service) if "/" in source]


def test_what_compose_mounts_exists_and_its_programs_look_there():
    services = compose()["services"]
    for service in services.values():
        for source, _ in mounts_of(service):
            assert source.is_dir(), source
    (config,) = (each.partition("=")[2] for each in services["prometheus"]["command"] if each.startswith("--config.file="))
    ((prometheus, at),) = mounts_of(services["prometheus"])
    assert (prometheus / Path(config).relative_to(at)).is_file()
    provider = yaml.safe_load((COMPOSE / "grafana/provisioning/dashboards/holdfast.yaml").read_text())["providers"][0]
    (dashboards,) = (source for source, target in mounts_of(services["grafana"]) if target == provider["options"]["path"])
    assert list(dashboards.glob("*.json"))


def test_what_compose_names_is_there():
    services, volumes = compose()["services"], set(compose()["volumes"])
    (scraped,) = yaml.safe_load((DEPLOY / "prometheus/prometheus.yaml").read_text())["scrape_configs"][0]["static_configs"]
    assert scraped["targets"] == [f"holdfast:{Settings.model_fields['metrics_port'].default}"]
    assert "holdfast" in services
    assert {source for service in services.values() for source, _ in volumes_of(service) if "/" not in source} == volumes
    source = yaml.safe_load((COMPOSE / "grafana/provisioning/datasources/prometheus.yaml").read_text())["datasources"][0]
    assert source["url"] == "http://prometheus:9090"


def test_compose_publishes_to_this_machine_alone_and_takes_settings_of_the_server():
    services = compose()["services"]
    assert all(port.startswith("127.0.0.1:") for service in services.values() for port in service["ports"])
    variables = services["holdfast"]["environment"]
    Settings(bundle=Path("/bundle"), **{name.removeprefix("HOLDFAST_").lower(): value for name, value in variables.items()})
