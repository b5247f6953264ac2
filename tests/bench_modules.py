"""The modules of bench/, which are scripts beside the package."""

import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

BENCH = Path(__file__).parents[1] / "bench"


@contextmanager
def bench_modules(*names: str) -> Iterator[dict[str, ModuleType]]:
    """Import modules by name; afterwards other tests do not find them."""
    sys.path.insert(0, str(BENCH))
    try:
        yield {name: importlib.import_module(name) for name in names}
    finally:
        sys.path.remove(str(BENCH))
        for name in names:
            del sys.modules[name]
