"""What a figure was measured on: processor, cores, versions, and the GPU where one was used."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from avpipe.machine import granted_cores

LIBRARIES = ("avpipe", "av", "numpy", "torch", "faiss-cpu", "scikit-learn")
FAST = ("avx512_bf16", "amx_tile", "avx512f", "avx2")
"""Instructions that decide how fast a network is, as Linux names them."""


def cpu_name() -> str:
    """Name the processor, as far as the system does."""
    names = [line.partition(":")[2].strip() for line in _cpu_lines("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def machine_words(*, gpu: bool = False) -> dict[str, str]:
    """Return what to state beside figures, name to value."""
    flags = set(" ".join(_cpu_lines("flags")[:1]).split())
    found = {
        "CPU": cpu_name(),
        "cores": str(granted_cores()),
        "instructions": " ".join(one for one in FAST if one in flags) or "unknown",
        "Python": platform.python_version(),
    }
    for library in LIBRARIES:
        try:
            found[library] = version(library)
        except PackageNotFoundError:
            found[library] = "missing"
    if gpu:
        import torch

        found["GPU"] = torch.cuda.get_device_name()
        found["CUDA"] = str(torch.version.cuda)
        found["cuDNN"] = str(torch.backends.cudnn.version())
    return found


def _cpu_lines(key: str) -> list[str]:
    """Lines of the processors' description that begin with a key."""
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return []
    return [line for line in text.splitlines() if line.startswith(key)]
