"""avpipe: folders of video become a feature cache, the cache trained sound-source localizers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .cache.store import Cache as Cache

__version__ = "0.1.0"
__all__ = ["Cache", "__version__"]


def __getattr__(name: str) -> Any:
    """Import what is asked for, so that `import avpipe` and `avpipe --help` load nothing heavy."""
    if name == "Cache":
        from .cache.store import Cache

        return Cache
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    """List the lazy names too."""
    return sorted({*globals(), *__all__})
