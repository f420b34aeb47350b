"""What can be held against the Dockerfile without an engine, and its install step in a fresh environment."""

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from itertools import pairwise
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def copy_source(name, to):
    """As the builder copies: links stay links, and may lead to what was not copied."""
    target = to / name
    target.parent.mkdir(parents=True, exist_ok=True)
    if (ROOT / name).is_dir():
        shutil.copytree(ROOT / name, target, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
    else:
        shutil.copy(ROOT / name, target)


@pytest.fixture(scope="module")
def steps():
    """(instruction, rest) of every step, continued lines joined and comments left out."""
    text = (ROOT / "Dockerfile").read_text().replace("\\\n", " ")
    lines = [line.strip() for line in text.splitlines() if line.strip() and not line.startswith("#")]
    return [tuple(line.split(maxsplit=1)) for line in lines]


def values_of(steps, instruction):
    return [rest for name, rest in steps if name == instruction]


def copied_sources(steps):
    """What is copied out of the repository."""
    return [source for rest in values_of(steps, "COPY") if "--from=" not in rest for source in rest.split()[:-1]]


def test_what_is_copied_exists_and_reaches_the_builder(steps):
    admitted = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    sources = set(copied_sources(steps))
    assert {"pyproject.toml", "requirements.lock", "server"} <= sources
    assert sources == admitted
    assert [source for source in sources if not (ROOT / source).exists()] == []


def test_the_last_stage_is_slim(steps):
    stages = [rest.split(" AS ")[1] for rest in values_of(steps, "FROM")]
    assert stages == ["base-cpu", "base-gpu", "build", "serve"]
    last = steps[max(i for i, (name, _) in enumerate(steps) if name == "FROM") :]
    assert [rest for rest in values_of(last, "COPY") if "--from=build" not in rest] == []
    assert not any("pip" in rest for rest in values_of(last, "RUN"))


def test_what_built_it_is_not_in_it(steps):
    (install,) = [rest for rest in values_of(steps, "RUN") if "pip install" in rest]
    assert "--no-cache-dir" in install
    assert "uninstall --yes pip setuptools" in install


def test_its_base_is_a_choice(steps):
    chosen = {rest.split(" AS ")[1]: rest.split()[0] for rest in values_of(steps, "FROM")}
    arguments = {rest.split("=")[0] for rest in values_of(steps, "ARG")}
    assert (chosen["base-cpu"], chosen["base-gpu"]) == ("${CPU_IMAGE}", "${GPU_IMAGE}")
    assert {"CPU_IMAGE", "GPU_IMAGE", "VARIANT"} <= arguments


@pytest.mark.slow
def test_the_image_is_built_and_serves():
    """By buildah, in a chroot: see deploy/image.py."""
    if os.geteuid() != 0 or not all(map(shutil.which, ("buildah", "mmdebstrap"))):
        pytest.skip("building needs root, and Debian's packages buildah and mmdebstrap")
    command = [sys.executable, ROOT / "deploy" / "image.py"]
    done = subprocess.run(
        command, cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_it_runs_as_nobody_special_and_ends_by_draining(steps):
    (user,) = values_of(steps, "USER")
    assert user not in {"root", "0"}
    assert any(f" {user}" in rest for rest in values_of(steps, "RUN") if rest.startswith("useradd"))
    assert values_of(steps, "STOPSIGNAL") == ["SIGTERM"]


def test_each_variant_installs_a_pinned_extra_that_exists_and_has_no_torch(steps):
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    chosen = [rest.removeprefix("EXTRA=") for rest in values_of(steps, "ENV") if rest.startswith("EXTRA=")]
    assert chosen == ["serve", "gpu"]
    for extra in (*chosen, "otel"):
        assert not any("torch" in requirement for requirement in extras[extra])
    (install,) = [rest for rest in values_of(steps, "RUN") if "pip install" in rest]
    assert '".[${EXTRA},otel]"' in install
    assert "--constraint requirements.lock" in install


def test_the_commands_are_modules_of_ours_that_are_copied(steps):
    (health,) = values_of(steps, "HEALTHCHECK")
    (entry,) = values_of(steps, "ENTRYPOINT")
    check = json.loads(health.partition("CMD ")[2])
    assert check[:4] == ["python", "-m", "holdfast.client", "health"]
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
    assert json.loads(entry) == ["holdfast", "serve"]
    assert json.loads(entry)[0] in scripts
    assert {"holdfast", "protos", "server"} <= set(copied_sources(steps))


def test_its_settings_are_settings_of_the_server(steps):
    from holdfast.server.settings import Settings

    names = set(re.findall(r"HOLDFAST_(\w+)=", " ".join(values_of(steps, "ENV"))))
    assert {"BUNDLE", "HOST"} <= names
    assert {name.lower() for name in names} <= set(Settings.model_fields)
    ports = {Settings.model_fields["port"].default, Settings.model_fields["metrics_port"].default}
    assert {int(port) for port in values_of(steps, "EXPOSE")[0].split()} == ports


def test_the_gpu_variant_serves_on_the_gpu_or_not_at_all(steps):
    starts = [i for i, (name, _) in enumerate(steps) if name == "FROM"] + [len(steps)]
    stages = {steps[a][1].split(" AS ")[1]: steps[a:b] for a, b in pairwise(starts)}
    devices = {name: re.findall(r"HOLDFAST_DEVICE=(\w+)", " ".join(values_of(stage, "ENV"))) for name, stage in stages.items()}
    assert devices == {"base-cpu": [], "base-gpu": ["cuda"], "build": [], "serve": []}
    assert ("FROM", "base-${VARIANT} AS serve") in steps  # which inherits it


def test_no_extra_brings_both_builds_of_a_library(steps):
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    for extra in ("serve", "gpu"):
        names = [re.match(r"[\w-]+", requirement)[0] for requirement in extras[extra]]
        assert [name.startswith(("onnxruntime", "faiss")) for name in names].count(True) == 2
    assert {re.split(r"[>=]", requirement)[0] for requirement in extras["gpu"]} >= {
        "onnxruntime-gpu[cuda,cudnn]",  # with the libraries that holdfast.model.encoder.device loads before the first session
        "faiss-gpu-cuvs",
    }


@pytest.mark.slow
def test_the_install_step_serves_without_torch(steps, tmp_path):
    """The build stage by hand: only what is copied, only what the extra names, then the server's help and its imports."""
    source, python = tmp_path / "source", tmp_path / "venv/bin/python"
    source.mkdir()
    for name in copied_sources(steps):
        copy_source(name, source)
    subprocess.run([sys.executable, "-m", "venv", tmp_path / "venv"], check=True)
    install = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*install, "--constraint", "requirements.lock", ".[serve]"], cwd=source, check=True)
    environment = {"PATH": os.environ["PATH"], "OMP_NUM_THREADS": "1"}

    def run(*arguments):
        command = [python, *arguments]
        return subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)

    assert "No module named 'torch'" in run("-c", "import torch").stderr
    assert "No module named 'holdfast.trainer'" in run("-c", "import holdfast.trainer").stderr
    served = run("-c", "import holdfast.server.run, holdfast.client, sys; assert 'torch' not in sys.modules")
    assert served.returncode == 0, served.stderr
    for command in (("holdfast", "serve"), ("server",), ("holdfast.client",)):
        shown = run("-m", *command, "--help")
        assert shown.returncode == 0, shown.stderr
        assert "usage" in shown.stdout.lower()
