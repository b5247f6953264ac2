"""What `extract` is asked to do where a test names only part of it."""

from __future__ import annotations

import inspect
from dataclasses import fields
from pathlib import Path
from typing import Any

from avpipe.pipeline.commands.extract import extract
from avpipe.pipeline.extract.settings import ExtractSettings


def settings_for(inputs: tuple[str, ...], cache: Path, **named: Any) -> ExtractSettings:
    """Return the settings: what is not named has the default of the command's signature."""
    options = inspect.signature(extract).parameters
    found: dict[str, Any] = {"inputs": inputs, "cache": cache, "root_map": None}
    for field in fields(ExtractSettings):
        if field.name not in found:
            found[field.name] = options[field.name.removesuffix("_s")].default
    return ExtractSettings(**{**found, **named})
