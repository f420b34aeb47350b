"""python deploy/image.py [--bundle DIR] [--base TAR] [--keep]: build the image of the Dockerfile, run it, classify by it.

It needs root and two of Debian's packages, buildah and mmdebstrap, and no registry of images: a root made of Debian packages
takes the place of python:3.11-slim-bookworm. There is no kernel of containers either, so the image runs in a chroot, by its own
user, without capabilities, on a root that is mounted read-only. To be run by a Python that has holdfast with the extra 'serve'.
"""

import argparse
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from holdfast.bundle.reader import Bundle
from holdfast.client import Client

ROOT = Path(__file__).parents[1]
LIMIT_BYTES = 450e6
"""Most bytes of all files in the image, unpacked."""
START_S = 60.0
STOP_S = 30.0
IMAGES = 32
PACKAGES = "usr-is-merged,passwd,python3-venv,libstdc++6"
LEFT_OUT = (
    "exclude=/usr/share/doc/*",
    "include=/usr/share/doc/*/copyright",
    "exclude=/usr/share/man/*",
    "exclude=/usr/share/locale/*",
)
SOURCES = Path("/etc/apt/sources.list.d/debian.sources")
FOR_PIP = ("/etc/ssl/certs", "/etc/pip.conf")
"""What pip may need of this machine to reach its index; mounted while the image is built, and not part of it."""
TOOLS = ("gcc", "cc", "c++", "ld", "make", "git", "pip", "pip3", "apt", "apt-get", "curl", "wget")
"""What the image has no use for, and an intruder would."""


class BuildError(Exception):
    """What is wrong with the image, or with this machine."""


class Builder:
    """buildah with a storage of its own below `work`."""

    def __init__(self, work: Path) -> None:
        self.work = work
        self._buildah = ("buildah", "--root", str(work / "storage"), "--runroot", str(work / "run"), "--storage-driver", "vfs")

    def __call__(self, *arguments: object) -> str:
        """Run one command of buildah; returns the last line that it prints."""
        lines = run(*self._buildah, *arguments).strip().splitlines()
        return lines[-1] if lines else ""

    def import_base(self, tar: Path) -> None:
        """Make the base image of a root's archive."""
        container = self("from", "scratch")
        self("add", container, tar, "/")
        self("commit", container, "localhost/base-root")

    def build(self) -> None:
        """Build the Dockerfile's last stage, as localhost/holdfast."""
        mounts = [each for path in FOR_PIP if Path(path).exists() for each in ("--volume", f"{path}:{path}:ro")]
        build = (
            "build",
            "--isolation",
            "chroot",
            "--format",
            "docker",
            "--build-arg",
            "CPU_IMAGE=localhost/base-root",
            *mounts,
        )
        # Older versions find a stage whose name has an argument in it only where there is an image of that name.
        self(*build, "--target", "base-cpu", "--tag", "base-cpu", ROOT)
        self(*build, "--tag", "holdfast", ROOT)

    def config(self) -> dict[str, Any]:
        """User, Env, Entrypoint and so on, as docker inspect shows them."""
        inspected = json.loads(run(*self._buildah, "inspect", "--type", "image", "holdfast"))
        config: dict[str, Any] = inspected["Docker"]["config"]
        return config

    def packed_bytes(self) -> int:
        """Bytes of the image's layers as a registry would hold them, compressed."""
        to = self.work / "oci"
        self("push", "--quiet", "holdfast", f"oci:{to}")
        return sum(path.stat().st_size for path in to.rglob("*") if path.is_file())

    def mount(self) -> Path:
        """The image's root, unpacked."""
        return Path(self("mount", self("from", "holdfast")))


def run(*command: object) -> str:
    """Run a command to its end; returns what it printed. Raises BuildError with its last lines where it fails."""
    done = subprocess.run([str(each) for each in command], capture_output=True, text=True, check=False)
    if done.returncode:
        last = "\n".join((done.stdout + done.stderr).splitlines()[-20:])
        raise BuildError(f"{' '.join(map(str, command[:8]))} ... ended with {done.returncode}:\n{last}")
    return done.stdout


def make_base(tar: Path) -> None:
    """A root of Debian's packages, with the Python that they bring and without documentation, as an archive."""
    paths = [f"--dpkgopt=path-{each}" for each in LEFT_OUT]
    hook = "--hook-dir=/usr/share/mmdebstrap/hooks/merged-usr"
    packages = (f"--include={PACKAGES}", "--dpkgopt=force-unsafe-io")
    run("mmdebstrap", "--variant=essential", hook, *packages, *paths, "bookworm", tar, *([SOURCES] if SOURCES.exists() else []))


def check_files(root: Path) -> int:
    """Look for what should not be there. Returns the bytes of all files; links to the same file count once."""
    folders = [root / each for each in ("bin", "sbin", "usr/bin", "usr/sbin", "usr/local/bin", "opt/holdfast/bin")]
    tools = sorted({tool for tool in TOOLS for folder in folders if (folder / tool).exists()})
    if tools:
        raise BuildError(f"the image has {', '.join(tools)}")
    files = [path for path in root.rglob("*") if path.is_file() and not path.is_symlink()]
    left = [
        path for path in files if ".cache" in path.parts or (path.suffix == ".whl" and "opt" in path.relative_to(root).parts)
    ]
    if left:
        raise BuildError(f"pip left {left[0]}, and {len(left) - 1} more")
    return sum({status.st_ino: status.st_size for status in map(os.stat, files)}.values())


@contextmanager
def running(root: Path, config: dict[str, Any], bundle: Path, port: int) -> Iterator[subprocess.Popen[str]]:
    """The image's command in a chroot, by its user, on a read-only root with the bundle at /bundle."""
    (root / "bundle").mkdir(exist_ok=True)  # as an engine makes it for a volume
    mounts = [
        f"mount --bind {root} {root}",
        f"mount --bind {bundle.resolve()} {root}/bundle",
        f"mount -o remount,bind,ro {root}/bundle",
        f"mount -t proc -o ro proc {root}/proc",
        f"mount -o remount,bind,ro {root}",
    ]
    variables = [*config["Env"], f"HOLDFAST_PORT={port}", "HOLDFAST_HOST=127.0.0.1", "HOLDFAST_METRICS_PORT=0"]
    inside = ["setpriv", "--no-new-privs", "chroot", f"--userspec={config['User']}", str(root), "env", "-i", *variables]
    script = " && ".join([*mounts, 'exec "$@"'])
    # exec all the way: a signal to this process reaches the server itself, as an engine's does.
    command = ["unshare", "--mount", "sh", "-ec", script, "sh", *inside, *config["Entrypoint"]]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


def await_healthy(process: subprocess.Popen[str], check: Sequence[str]) -> float:
    """Ask by the image's own health check until it says yes. Returns the seconds that it took."""
    begun = time.monotonic()
    while subprocess.run(check, capture_output=True, check=False).returncode:
        if process.poll() is not None or time.monotonic() - begun > START_S:
            process.kill()
            raise BuildError(f"the server did not become healthy:\n{process.communicate()[0]}")
        time.sleep(0.2)
    return time.monotonic() - begun


def check_process(pid: int) -> str:
    """That the server is nobody special. Returns its user's number."""
    lines = (line.partition(":") for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    status = {name: value.split() for name, _, value in lines}
    if "0" in status["Uid"] or int(status["CapEff"][0], 16) or status["NoNewPrivs"] != ["1"]:
        raise BuildError(f"user {status['Uid']}, capabilities {status['CapEff']}, no new privileges {status['NoNewPrivs']}")
    if any(each.split()[1] == "/" and "ro" not in each.split()[3].split(",") for each in mounts_of(pid)):
        raise BuildError("its root can be written to")
    return status["Uid"][0]


def mounts_of(pid: int) -> list[str]:
    """Lines of the process's table of mounts, as it sees them itself."""
    return Path(f"/proc/{pid}/mounts").read_text().splitlines()


def check_answers(address: str, bundle: Path) -> None:
    """Labels by the image are those of the bundle opened here."""
    opened = Bundle.open(bundle)
    shape = (IMAGES, opened.manifest.input.height, opened.manifest.input.width, 3)
    images = np.random.default_rng(7).integers(0, 256, shape, dtype=np.uint8)
    expected = opened.classifier().classify(images).labels
    with Client(address) as client:
        answers = client.classify_many(images)
    wrong = [i for i, answer in enumerate(answers) if getattr(answer, "index", None) != expected[i]]
    if wrong:
        raise BuildError(f"other answers than here for images {wrong}")


def try_image(builder: Builder, bundle: Path) -> None:
    """Everything that is expected of the image. Raises BuildError."""
    root, config = builder.mount(), builder.config()
    size = check_files(root)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with running(root, config, bundle, port) as process:
        address = f"127.0.0.1:{port}"
        _, *health = config["Healthcheck"]["Test"]
        path = next(each for each in config["Env"] if each.startswith("PATH="))
        seconds = await_healthy(process, ["chroot", str(root), "env", path, *health, "--address", address])
        user = check_process(process.pid)
        check_answers(address, bundle)
        memory = next(line for line in Path(f"/proc/{process.pid}/status").read_text().splitlines() if line.startswith("VmHWM"))
        process.send_signal(signal.Signals[config["StopSignal"]])
        printed = process.communicate(timeout=STOP_S)[0]
    if process.returncode:
        raise BuildError(f"it ended with {process.returncode}:\n{printed}")
    print(f"healthy after {seconds:.1f} s as user {user} on a read-only root; {IMAGES} answers as here; drained")
    print(f"{memory.split()[1]} kB of memory at most")
    print(f"{size / 1e6:.0f} MB unpacked, {builder.packed_bytes() / 1e6:.0f} MB compressed")
    if size > LIMIT_BYTES:
        raise BuildError(f"more than {LIMIT_BYTES / 1e6:.0f} MB")


def main() -> int:
    """Build and try; exit status 1 where the image is not as it should be."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bundle", type=Path, default=ROOT / "bundles" / "cifar10-small", help="what it serves")
    parser.add_argument(
        "--base", type=Path, help="archive of a root with Python, instead of making one; made if it is not there"
    )
    parser.add_argument("--keep", action="store_true", help="keep the folder that the image was built in")
    options = parser.parse_args()
    missing = [tool for tool in ("buildah", "mmdebstrap") if shutil.which(tool) is None]
    if missing or os.geteuid() != 0:
        print(f"image: to be run by root, with {' and '.join(missing or ['all'])} installed from Debian", file=sys.stderr)
        return 2
    work = Path(tempfile.mkdtemp(prefix="holdfast-image-"))
    try:
        builder, base = Builder(work), options.base or work / "base.tar"
        if not base.exists():
            make_base(base)
        builder.import_base(base)
        builder.build()
        try_image(builder, options.bundle)
    except BuildError as error:
        print(f"image: {error}", file=sys.stderr)
        return 1
    finally:
        if options.keep:
            print(work)
        else:
            shutil.rmtree(work)
    return 0


if __name__ == "__main__":
    sys.exit(main())
