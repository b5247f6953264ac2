"""What a package that is imported under one name is called where it is installed from."""

from __future__ import annotations

import re
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, packages_distributions, requires, version

_MISSING = {
    "cv2": "opencv-python",
    "faiss": "faiss-cpu",
    "ffmpeg": "ffmpeg-python",
    "PIL": "pillow",
    "sklearn": "scikit-learn",
    "yaml": "pyyaml",
}
"""Of those that are not there, whom nobody can ask; others differ by `_` for `-` alone."""


def distribution_of(module: str) -> str:
    """Return the name that `pip install` takes for a module, `PIL.Image` or `PIL`."""
    package = module.partition(".")[0]
    known = _MISSING.get(package)
    if known is None:
        installed = packages_distributions().get(package, ())  # a part of it may be missing
        known = installed[0] if installed else package.replace("_", "-")
    return known


def what_import_lacks(error: ImportError) -> str | None:
    """Say which package is missing, or has another version than avpipe needs, and what mends it.

    None for modules of avpipe itself, and where no module is named.
    """
    if not error.name or error.name.partition(".")[0] == "avpipe":
        return None
    package = distribution_of(error.name)
    try:
        there = version(package)
    except PackageNotFoundError:
        return f"the package {package} is missing: pip install {package}"
    return (
        f"{package} {there} does not give what avpipe needs of it ({error}): "
        f'pip install --force-reinstall "{_requirement(package)}"'
    )


def _requirement(package: str) -> str:
    """Return a package with the versions that avpipe asks for."""
    with suppress(PackageNotFoundError):
        for line in requires("avpipe") or ():
            wanted = line.partition(";")[0].strip()
            if _plain(re.split(r"[^\w.-]", wanted)[0]) == _plain(package):
                return wanted
    return package


def _plain(name: str) -> str:
    """Return a name as package indexes compare it."""
    return re.sub(r"[-_.]+", "-", name).lower()
