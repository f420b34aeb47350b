"""What native libraries read from the environment while they are being loaded: it has to be there before their import.

Nothing here imports numpy, faiss or onnxruntime, and what the operator has set stays as it is.
"""

from collections.abc import MutableMapping
from pathlib import Path

CPUINFO = Path("/proc/cpuinfo")


def prepare_libraries(environment: MutableMapping[str, str], cpuinfo: Path = CPUINFO) -> None:
    """Set what the server's libraries need, where it is not set already.

    - OpenMP threads of faiss sleep when idle: spinning beside ONNX Runtime's they cost a second where 20 ms do.
    - One thread per search: the server's parallelism is its batches.
    - OpenBLAS does not know CPUs younger than itself and falls back to kernels several times slower: it is told.
    """
    environment.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    environment.setdefault("OMP_NUM_THREADS", "1")
    core = _openblas_core(cpuinfo)
    if core is not None:
        environment.setdefault("OPENBLAS_CORETYPE", core)


def _openblas_core(cpuinfo: Path) -> str | None:
    """The best OpenBLAS kernels that this CPU can run; None where /proc/cpuinfo does not say."""
    try:
        lines = cpuinfo.read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return None
    flags = next((set(line.split(":", 1)[-1].split()) for line in lines if line.startswith("flags")), set[str]())
    if {"avx512f", "avx512dq", "avx512bw", "avx512vl", "avx512cd"} <= flags:
        return "SKYLAKEX"
    return "Haswell" if {"avx2", "fma"} <= flags else None
