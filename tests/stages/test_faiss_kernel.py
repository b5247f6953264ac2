"""FAISS is loaded with the products that suit the CPU, and nothing else learns of it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from avpipe.pipeline.doctor.packages import check_products
from avpipe.stages.neighbors.faiss_kernel import KERNEL, best_kernel

AVX512 = "avx512f avx512dq avx512bw avx512cd avx512vl"
LOAD = """
import os
from avpipe.stages.neighbors.faiss_kernel import load_faiss, products_of
print(products_of(load_faiss()))
print(os.environ.get("OPENBLAS_CORETYPE"))
"""


@pytest.mark.parametrize(
    ("content", "kernel"),
    [
        (f"processor : 0\nflags\t\t: sse4_2 avx2 fma {AVX512}\n", "SkylakeX"),
        ("flags : avx2 fma avx512f avx512cd\n", "Haswell"),  # Knights Landing
        ("flags : avx2\n", None),
        ("flags : sse2\n\nflags : avx2 fma\n", None),
        ("vmx flags : avx2 fma\nFeatures : fp asimd\n", None),
        ("", None),
    ],
)
def test_the_kernel_is_what_the_cpu_can_run(
    tmp_path: Path, content: str, kernel: str | None
) -> None:
    file = tmp_path / "cpuinfo"
    assert best_kernel(file) is None
    file.write_text(content)
    assert best_kernel(file) == kernel


def loaded(monkeypatch: pytest.MonkeyPatch, kernel: str | None) -> list[str]:
    """Load FAISS elsewhere; return what multiplies, and what the environment says afterwards."""
    monkeypatch.delenv(KERNEL, raising=False)
    if kernel:
        monkeypatch.setenv(KERNEL, kernel)
    return subprocess.check_output([sys.executable, "-c", LOAD], text=True).splitlines()


def test_faiss_multiplies_as_the_cpu_can(monkeypatch: pytest.MonkeyPatch) -> None:
    best = best_kernel()
    if best is None:
        pytest.skip("this CPU's kernel is left to OpenBLAS")
    products, environment = loaded(monkeypatch, None)
    if not products.startswith("openblas"):
        pytest.skip(f"FAISS brings no OpenBLAS here: {products or 'no library of its own'}")
    assert products.endswith(f", {best}")
    assert environment == "None"
    products, environment = loaded(monkeypatch, "Prescott")
    assert products.endswith(", Prescott")  # the user's word
    assert environment == "Prescott"


def test_doctor_names_the_kernel() -> None:
    good = check_products("openblas 0.3.15, SkylakeX", "SkylakeX")
    assert (good.state, good.found) == ("ok", "products by openblas 0.3.15, SkylakeX")
    assert check_products("openblas 0.3.15, Zen", None).state == "ok"
    poor = check_products("openblas 0.3.15, Prescott", "Haswell")
    assert (poor.state, poor.advice) == ("warning", "unset OPENBLAS_CORETYPE")
    assert "Haswell is what this CPU can run" in poor.found
