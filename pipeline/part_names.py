"""Parts that a command offers by the names of their files, looked at and never imported."""

from __future__ import annotations

from pathlib import Path

_PACKAGE = Path(__file__).parents[1]


def names_in(folder: str) -> list[str]:
    """Return the parts of a folder of the package: `vggss_heard.py` is `vggss-heard`."""
    stems = (path.stem for path in (_PACKAGE / folder).glob("[a-z]*.py"))
    return sorted(stem.replace("_", "-") for stem in stems)
