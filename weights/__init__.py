"""Where pretrained files come from, and how they are read: never unpickled, never guessed."""

from .checkpoint import load_exact, read_checkpoint, require_exact, section
from .choice import (
    PRETRAINED,
    RANDOM,
    SharedSpec,
    Weights,
    absolute_specs,
    check_specs,
    file_digest,
    remember,
    require,
    resolve,
)
from .download import listening
from .store import WeightFile, fetch, look, weights_dir

__all__ = [
    "PRETRAINED",
    "RANDOM",
    "SharedSpec",
    "WeightFile",
    "Weights",
    "absolute_specs",
    "check_specs",
    "fetch",
    "file_digest",
    "listening",
    "load_exact",
    "look",
    "read_checkpoint",
    "remember",
    "require",
    "require_exact",
    "resolve",
    "section",
    "weights_dir",
]
