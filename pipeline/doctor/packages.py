"""Are the packages there, do they belong together, and does torch see a GPU?"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from importlib import metadata
from itertools import zip_longest
from pathlib import Path
from typing import Any

from ...reading import parse_json
from ...stages.neighbors.faiss_kernel import KERNEL, best_kernel
from ..output import size_text
from .finding import Check, ok, problem, warning

TESTED = {"torch": "2.11.0", "torchvision": "0.26.0", "torchaudio": "2.11.0"}
"""These three belong together; as in constraints.txt."""
_REINSTALL = "pip install " + " ".join(f"{name}=={at}" for name, at in TESTED.items())
_MODULES = {"faiss-cpu": "faiss", "ffmpeg-python": "ffmpeg", "imageio-ffmpeg": "imageio_ffmpeg",
            "pillow": "PIL"}  # fmt: skip
"""What is imported, where it is not called as the package is."""
_TIMEOUT_S = 300
_NVIDIA = Path("/dev/nvidiactl")


def check_packages() -> list[Check]:
    """Import what avpipe depends on, elsewhere; compare versions; look for a GPU."""
    ranges = dict(_requirements())
    found = probe([_MODULES.get(name, name.replace("-", "_")) for name in ranges])
    checks = []
    for (name, wanted), result in zip(ranges.items(), found, strict=True):
        if result["error"]:
            repair = _REINSTALL if name in TESTED else f'pip install --upgrade "{name}{wanted}"'
            checks.append(problem(name, f"does not import: {result['error']}", repair))
        elif not is_in_range(version := metadata.version(name), wanted):
            advice = f'pip install --upgrade "{name}{wanted}"'
            checks.append(problem(name, f"{version} is installed, {wanted} is needed", advice))
    num_fine = len(ranges) - len(checks)
    python = ".".join(map(str, sys.version_info[:3]))
    here = f"Python {python}, avpipe {metadata.version('avpipe')}"
    checks.insert(0, ok("packages", f"{here}, {num_fine} of {len(ranges)} packages import"))
    checks.append(check_torch({name: _version(name) for name in TESTED}, _pin()))
    products = next((result["products"] for result in found if result.get("products")), "")
    if products:
        checks.append(check_products(products, best_kernel()))
    cuda = next((result["cuda"] for result in found if "cuda" in result), None)
    if cuda is not None:
        checks.append(check_gpu(cuda, has_driver=_NVIDIA.exists()))
    return checks


def broken_among(names: Sequence[str]) -> set[str]:
    """Return which of some packages do not import."""
    found = probe([_MODULES.get(name, name) for name in names])
    return {name for name, result in zip(names, found, strict=True) if result["error"]}


def _requirements() -> Iterator[tuple[str, str]]:
    """Yield each package avpipe depends on with its range of versions, `(name, ">=1,<2")`."""
    for line in metadata.requires("avpipe") or []:
        parts = re.fullmatch(r"([\w.-]+)([<>=!~,.\w]*)", line)
        if parts:  # those of extras carry a condition
            yield parts[1], parts[2]


def probe(modules: Sequence[str]) -> list[dict[str, Any]]:
    """Import modules in a process of their own, in another one from where one crashes.

    Returns:
        Of each module `error`, empty if it imports; of torch also `cuda`, as the probe says it.
    """
    results: list[dict[str, Any]] = []
    while len(results) < len(modules):
        rest = modules[len(results) :]
        said, ending = _ask(rest)
        done = [one for one in said if "error" in one]
        results += done
        if len(done) < len(rest):  # the next one took it down
            results.append({"module": rest[len(done)], "error": ending})
    return results


def _ask(modules: Sequence[str]) -> tuple[list[dict[str, Any]], str]:
    """Run the probe once; return what it said and how it ended."""
    # -P: a file `numpy.py` in the current folder is nobody's numpy
    command = [sys.executable, "-P", "-m", "avpipe.pipeline.doctor.probe", *modules]
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, timeout=_TIMEOUT_S, check=False
        )
    except subprocess.TimeoutExpired as slow:
        return _said(slow.stdout or b""), f"did not import in {_TIMEOUT_S} s"
    return _said(done.stdout), f"ended the process that imported it (exit status {done.returncode})"


def _said(output: bytes) -> list[dict[str, Any]]:
    """Read the probe's lines among what packages print."""
    lines = [line for line in output.splitlines() if line.startswith(b'{"module": ')]
    return [parse_json(line) for line in lines]


def is_in_range(version: str, wanted: str) -> bool:
    """Tell whether a version such as `2.11.0+cu130` lies in a range such as `>=2.6,<3`."""
    for sign, bound in re.findall(r"(>=|<)([\d.]+)", wanted):
        pairs = zip_longest(_numbers(version), _numbers(bound), fillvalue=0)
        ahead = next((have - limit for have, limit in pairs if have != limit), 0)
        if (ahead < 0) == (sign == ">="):
            return False
    return True


def _numbers(version: str) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", version.partition("+")[0])][:3]


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return ""


def _pin() -> str:
    """Return the version of torch that the installed torchvision was built for, as it says."""
    try:
        lines = metadata.requires("torchvision") or []
    except metadata.PackageNotFoundError:
        return ""
    pins = [re.fullmatch(r"torch *\(?==([\d.]+)\)?", line) for line in lines]
    return next((pin[1] for pin in pins if pin), "")


def check_products(products: str, best: str | None) -> Check:
    """Say what multiplies in FAISS, and whether this CPU could do better.

    Args:
        products: Library, version and kernel, as in `openblas 0.3.15, SkylakeX`.
        best: The kernel that suits the CPU; None if the library is to know.
    """
    if best is None or products.endswith(f" {best}"):
        return ok("faiss", f"products by {products}")
    return warning(
        "faiss",
        f"products by {products}; {best} is what this CPU can run, and faster",
        f"unset {KERNEL}",
    )


def check_torch(versions: dict[str, str], pin: str) -> Check:
    """Say whether torch, torchvision and torchaudio belong together.

    Args:
        versions: Installed ones by name, empty where there is none.
        pin: The version of torch that torchvision was built for; empty if it does not say.
    """
    told = ", ".join(f"{name} {version or 'missing'}" for name, version in versions.items())
    plain = {name: version.partition("+")[0] for name, version in versions.items()}
    same_audio = _numbers(plain["torchaudio"])[:2] == _numbers(plain["torch"])[:2]
    if not all(plain.values()) or not same_audio or (pin and pin != plain["torch"]):
        return problem("torch", f"{told}: do not belong together", _REINSTALL)
    return ok("torch", f"{told}: belong together{', as tested' if plain == TESTED else ''}")


def check_gpu(cuda: dict[str, Any], has_driver: bool) -> Check:
    """Say what networks will run on.

    Args:
        cuda: As the probe found it.
        has_driver: Whether an NVIDIA driver is loaded.
    """
    if cuda["usable"]:
        names = [f"{one['name']} ({size_text(one['bytes'])})" for one in cuda["devices"]]
        return ok("GPU", f"{', '.join(names)}; torch is built for CUDA {cuda['built_for']}")
    if not has_driver:
        return ok("GPU", "none (no NVIDIA driver): networks run on the processor")
    if cuda["built_for"] is None:
        found = "there is one, and this torch is built without CUDA"
        return warning("GPU", f"{found}: networks run on the processor", _REINSTALL)
    why = cuda["why_not"] or "torch finds no device (CUDA_VISIBLE_DEVICES?)"
    found = f"there is one, and torch for CUDA {cuda['built_for']} cannot use it: {why}"
    return warning("GPU", found, "nvidia-smi; the driver may be too old for that CUDA")
