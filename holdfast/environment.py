"""What native libraries read from the environment while they are being loaded: it has to be there before their import.

This is the one place that sets it. Every program calls one of the two functions before anything else is imported. Nothing here
imports numpy, torch, faiss or onnxruntime, and what the operator has set stays as it is.
"""

from collections.abc import MutableMapping
from pathlib import Path

CPUINFO = Path("/proc/cpuinfo")

# OpenMP threads spin while they wait. What they burn is lost to whoever shares the machine: ONNX Runtime, torch and faiss bring
# a pool each, and beside each other on few cores they cost a second where 20 ms do.
SLEEP_WHILE_WAITING = {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "0"}

# ONNX Runtime looks up a host at each start, to report to, and keeps a number of the machine under the home directory.
NO_TELEMETRY = {"ORT_DISABLE_TELEMETRY": "1"}

# gRPC tells of each failed handshake on stderr, past the log: strangers could fill a disk with that.
GRPC_ERRORS_ONLY = {"GRPC_VERBOSITY": "ERROR"}

AVX512 = {"avx512f", "avx512dq", "avx512bw", "avx512vl", "avx512cd"}


def prepare_computing(environment: MutableMapping[str, str]) -> None:
    """Set what training, indexing and evaluating need, where it is not set already.

    - OpenMP threads sleep when idle.
    - Nobody is told of it.
    - gRPC tells of errors alone.
    """
    disable_telemetry(environment)
    for name, value in (SLEEP_WHILE_WAITING | GRPC_ERRORS_ONLY).items():
        environment.setdefault(name, value)


def prepare_libraries(environment: MutableMapping[str, str], cpuinfo: Path = CPUINFO) -> None:
    """Set what the server's libraries need, where it is not set already.

    - OpenMP threads of faiss sleep when idle.
    - One thread per search: the server's parallelism is its batches.
    - OpenBLAS does not know CPUs younger than itself and falls back to kernels several times slower: their name is set.
    - Nobody is told of it.
    - gRPC tells of errors alone.
    """
    disable_telemetry(environment)
    for name, value in GRPC_ERRORS_ONLY.items():
        environment.setdefault(name, value)
    environment.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    environment.setdefault("OMP_NUM_THREADS", "1")
    core = _openblas_core(cpu_flags(cpuinfo))
    if core is not None:
        environment.setdefault("OPENBLAS_CORETYPE", core)


def disable_telemetry(environment: MutableMapping[str, str]) -> None:
    """Have libraries report to nobody and leave nothing under the home directory, where nothing is set for it already."""
    for name, value in NO_TELEMETRY.items():
        environment.setdefault(name, value)


def cpu_flags(cpuinfo: Path = CPUINFO) -> frozenset[str]:
    """The instruction sets of this CPU, as /proc/cpuinfo names them; none where it does not say."""
    try:
        lines = cpuinfo.read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return frozenset()
    return next((frozenset(line.split(":", 1)[-1].split()) for line in lines if line.startswith("flags")), frozenset())


def _openblas_core(flags: frozenset[str]) -> str | None:
    """The best OpenBLAS kernels for a CPU; None where it has neither AVX-512 nor AVX2, or does not say."""
    if flags >= AVX512:
        return "SKYLAKEX"
    return "Haswell" if {"avx2", "fma"} <= flags else None
