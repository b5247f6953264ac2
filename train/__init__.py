"""The trainer: a cache and a recipe become a run, a run becomes a localizer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .runs.localizer import load_run as load_run

__all__ = ["load_run"]


def __getattr__(name: str) -> Any:
    """Import what is asked for: recipes can be read without torch."""
    if name == "load_run":
        from .runs.localizer import load_run

        return load_run
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
