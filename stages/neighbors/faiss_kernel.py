"""FAISS, loaded so that its matrix products suit this CPU.

The wheel of faiss-cpu carries an OpenBLAS of its own, older than many CPUs. It knows CPUs by their
number, not by what they can do, and takes SSE3 products for those it has never heard of: five
times slower on a server of the last years. Told a name by the environment, it believes that.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

CPU_INFO = Path("/proc/cpuinfo")
KERNEL = "OPENBLAS_CORETYPE"

_KERNELS = {
    "SkylakeX": {"avx512f", "avx512dq", "avx512bw", "avx512cd", "avx512vl"},
    "Haswell": {"avx2", "fma"},
}
"""OpenBLAS's names, the fastest first, with the instructions that each needs."""


def load_faiss() -> Any:
    """Import FAISS; the first import in a process chooses the kernel of its products.

    What the user has set in `OPENBLAS_CORETYPE` stays; the environment is left as it was.
    """
    kernel = best_kernel()
    if "faiss" in sys.modules or KERNEL in os.environ or kernel is None:
        import faiss

        return faiss
    os.environ[KERNEL] = kernel
    try:
        import faiss
    finally:
        del os.environ[KERNEL]
    return faiss


def best_kernel(cpu_info: Path = CPU_INFO) -> str | None:
    """Return the fastest kernel that this CPU can run, by OpenBLAS's name; None: leave it to it."""
    if not cpu_info.is_file():
        return None
    lines = cpu_info.read_text(errors="replace").splitlines()
    flags = next((line for line in lines if line.startswith("flags")), "")
    able = set(flags.partition(":")[2].split())
    return next((name for name, needed in _KERNELS.items() if needed <= able), None)


def products_of(faiss: ModuleType) -> str:
    """Name library, version and kernel of FAISS's products: `openblas 0.3.15, SkylakeX`.

    Empty where FAISS brings no library of its own.
    """
    from threadpoolctl import threadpool_info

    place = Path(faiss.__file__ or "").parent
    for found in threadpool_info():
        folder = Path(found["filepath"]).parent
        if found["user_api"] == "blas" and folder in {place, place.with_name("faiss_cpu.libs")}:
            return f"{found['internal_api']} {found['version']}, {found.get('architecture')}"
    return ""
