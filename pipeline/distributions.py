"""What a package that is imported under one name is called where it is installed from."""

from __future__ import annotations

from importlib.metadata import packages_distributions

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
