"""The wheel, in environments of its own: what it brings, beside whom it lives, and from where it runs."""

import json
import os
import shutil
import signal
import subprocess
import sys
import sysconfig
import tarfile
import time
import venv
import zipfile
from pathlib import Path

import pytest

from holdfast.protos.lint import find_buf

ROOT = Path(__file__).parents[1]
SOURCES = ("pyproject.toml", "README.md", "LICENSE", "deploy", "holdfast", "protos", "server", "trainer", "index_build")
TOY_PACKAGES = ("server", "data", "protos", "client")
START_SECONDS = 120.0

pytestmark = pytest.mark.slow


def run(*command, cwd, **options):
    # What the project's own environment puts on the path must not help.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    arguments = [str(each) for each in command]
    return subprocess.run(
        arguments, cwd=cwd, env=environment, capture_output=True, text=True, check=False, timeout=300, **options
    )


def succeed(*command, cwd):
    done = run(*command, cwd=cwd)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def build_wheel(source, to):
    pip = (sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--no-index")
    succeed(*pip, "--wheel-dir", to, source, cwd=to)
    (wheel,) = to.glob("*.whl")
    return wheel


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """A copy of what is packed: building leaves folders behind."""
    folder = tmp_path_factory.mktemp("source")
    for name in SOURCES:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, folder / name, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / name, folder / name)
    return folder


@pytest.fixture(scope="module")
def wheel(source, tmp_path_factory):
    return build_wheel(source, tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def toy(tmp_path_factory):
    """Somebody else's distribution, with packages of the names that ours must not take."""
    folder = tmp_path_factory.mktemp("toy")
    for name in TOY_PACKAGES:
        (folder / name).mkdir()
        (folder / name / "__init__.py").write_text(f"OWNER = 'toy {name}'\n")
    build = '[build-system]\nrequires = ["setuptools"]\nbuild-backend = "setuptools.build_meta"\n'
    project = f'[project]\nname = "toy"\nversion = "1"\n[tool.setuptools]\npackages = {list(TOY_PACKAGES)}\n'
    (folder / "pyproject.toml").write_text(build + project)
    return build_wheel(folder, tmp_path_factory.mktemp("toy-wheel"))


class Environment:
    """A virtual environment that sees the libraries of this one, and none of its packages of ours."""

    def __init__(self, folder):
        venv.create(folder, with_pip=False)
        self.folder, self.bin = folder, folder / "bin"
        self.python = self.bin / "python"
        packages = succeed(self.python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=folder).strip()
        Path(packages, "libraries.pth").write_text(sysconfig.get_path("purelib") + "\n")

    def pip(self, *arguments):
        quiet = ("--quiet", "--disable-pip-version-check")
        succeed(sys.executable, "-m", "pip", "--python", self.python, *arguments, *quiet, cwd=self.folder)

    def install(self, wheel):
        self.pip("install", "--no-deps", "--no-index", "--force-reinstall", wheel)

    def remove(self, name):
        self.pip("uninstall", "--yes", name)

    def toy_works(self):
        code = "; ".join(f"import {name}; assert {name}.OWNER == 'toy {name}', {name}" for name in TOY_PACKAGES)
        succeed(self.python, "-c", code, cwd=self.folder)

    def holdfast_works(self):
        assert "classify" in succeed(self.bin / "holdfast", "--help", cwd=self.folder)
        for command in ("train", "index", "evaluate", "serve", "classify", "bundle"):
            assert f"holdfast {command}" in succeed(self.bin / "holdfast", command, "--help", cwd=self.folder)
        modules = "holdfast.server.run, holdfast.trainer.train, holdfast.data, holdfast.protos.holdfast.v1.holdfast_pb2"
        place = succeed(self.python, "-c", f"import {modules}; print(holdfast.server.run.__file__)", cwd=self.folder)
        assert Path(place.strip()).is_relative_to(self.folder)


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    environment = Environment(tmp_path_factory.mktemp("installed") / "venv")
    environment.install(wheel)
    return environment


def names_in(wheel):
    return sorted(name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name)


def test_the_wheel_is_one_package_and_three_modules_that_lead_to_it(wheel):
    names = names_in(wheel)
    assert {name.split("/")[0] for name in names} == {"holdfast", "server.py", "trainer.py", "index_build.py"}
    proto = {f"holdfast/protos/holdfast/v1/{name}.proto" for name in ("answer", "holdfast", "image", "model")}
    proto |= {f"holdfast/protos/holdfast/admin/v1/{name}.proto" for name in ("admin", "exemplar", "version")}
    proto |= {f"holdfast/protos/google/rpc/{name}.proto" for name in ("status", "error_details")}
    report = {"holdfast/evaluation/report/page.html.j2", "holdfast/evaluation/report/page.css"}
    page = "holdfast/server/api/page"
    report |= {f"{page}/{name}" for name in ("static/page.css", "static/page.js", "static/icon.svg", "templates/live.html.j2")}
    stubs = {f"holdfast/protos/holdfast/{name}_pb2_grpc.pyi" for name in ("v1/holdfast", "admin/v1/admin")}
    programs = {f"holdfast/{name}/__main__.py" for name in ("trainer", "index_build", "server")}
    assert proto | report | stubs | programs <= set(names)
    assert not any(part in name.split("/") for name in names for part in ("bench", "demo", "reproduce", "tests", "__pycache__"))
    licences = [name for name in zipfile.ZipFile(wheel).namelist() if name.endswith("LICENSE")]
    assert len(licences) == 1


def test_a_wheel_made_from_the_source_archive_is_the_same(source, wheel, tmp_path):
    code = f"from setuptools.build_meta import build_sdist; build_sdist({str(tmp_path)!r})"
    succeed(sys.executable, "-c", code, cwd=source)
    (archive,) = tmp_path.glob("*.tar.gz")
    with tarfile.open(archive) as packed:
        packed.extractall(tmp_path, filter="data")
    (unpacked,) = (path for path in tmp_path.iterdir() if path.is_dir())
    (tmp_path / "wheel").mkdir()
    assert names_in(build_wheel(unpacked, tmp_path / "wheel")) == names_in(wheel)


def test_compilers_find_all_that_its_proto_files_import(installed, tmp_path):
    code = "import holdfast.protos; print(*holdfast.protos.__path__)"
    root = Path(succeed(installed.python, "-c", code, cwd=tmp_path).strip())
    assert root.is_relative_to(installed.folder)
    sources = [path.relative_to(root) for path in root.rglob("*.proto")]
    compiler = (sys.executable, "-m", "grpc_tools.protoc", f"-I{root}", f"--descriptor_set_out={tmp_path / 'all'}")
    succeed(*compiler, *sources, cwd=tmp_path)
    succeed(find_buf(), "build", root, "--output", tmp_path / "all.binpb", cwd=tmp_path)


@pytest.mark.parametrize("order", ["holdfast first", "toy first"])
def test_beside_a_package_of_the_same_names_both_work_and_each_can_go(order, wheel, toy, tmp_path):
    environment = Environment(tmp_path / "venv")
    for each in (wheel, toy) if order == "holdfast first" else (toy, wheel):
        environment.install(each)
    environment.toy_works()
    environment.holdfast_works()
    if order == "holdfast first":
        environment.remove("toy")
        environment.holdfast_works()
        assert "holdfast serve" in succeed(environment.python, "-m", "server", "--help", cwd=tmp_path)
    else:
        environment.remove("holdfast")
        environment.toy_works()
        assert not (environment.bin / "holdfast").exists()


@pytest.mark.parametrize(("module", "command"), [("server", "serve"), ("trainer", "train"), ("index_build", "index")])
def test_the_old_module_names_run_outside_of_a_checkout(module, command, installed, tmp_path):
    for name in ("holdfast.py", "numpy.py"):
        (tmp_path / name).write_text("raise RuntimeError('the module of a user was imported')\n")
    (tmp_path / "data").mkdir()
    assert f"holdfast {command}" in succeed(installed.python, "-m", module, "--help", cwd=tmp_path)


def test_a_folder_without_init_of_the_name_can_still_be_imported(installed, tmp_path):
    (tmp_path / "server").mkdir()
    (tmp_path / "server" / "theirs.py").write_text("OWNER = 'they'\n")
    code = f"import sys; sys.path.append({str(tmp_path)!r}); from server import theirs; print(theirs.OWNER)"
    assert succeed(installed.python, "-c", code, cwd=installed.folder).strip() == "they"


@pytest.mark.parametrize("workers", [0, 2])
def test_it_serves_from_a_folder_full_of_other_peoples_modules(workers, installed, tmp_path):
    for name in ("server.py", "holdfast.py", "numpy.py", "trainer.py", "protos.py"):
        (tmp_path / name).write_text("raise RuntimeError('the module of a user was imported')\n")
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "__init__.py").write_text("raise RuntimeError('the package of a user was imported')\n")
    ports, bundle = tmp_path / "ports.json", ROOT / "bundles" / "cifar10-small"
    command = [installed.bin / "holdfast", "serve", "--bundle", bundle, "--port", 0, "--metrics-port", 0, "--port-file", ports]
    command += ["--workers", workers]
    with (tmp_path / "log").open("wb") as log:
        server = subprocess.Popen([str(each) for each in command], cwd=tmp_path, stdout=log, stderr=log)
    try:
        end = time.monotonic() + START_SECONDS
        while not ports.exists() and server.poll() is None and time.monotonic() < end:
            time.sleep(0.05)
        assert ports.exists(), (tmp_path / "log").read_text()
        address = json.loads(ports.read_text())["address"]
        healthy = run(installed.python, "-P", "-m", "holdfast.client", "health", "--address", address, cwd=tmp_path)
        assert healthy.stdout.strip() == "SERVING", healthy.stderr
    finally:
        server.send_signal(signal.SIGTERM)
    assert server.wait(60) == 0, (tmp_path / "log").read_text()
