"""Commands called as the functions that they are, without the command line."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest


def document_of(command: Callable[..., None], **options: Any) -> dict[str, Any]:
    """Call a command; return the document that it would print.

    What is not given has the default of its signature. Errors are raised as they are.
    """
    shown: list[dict[str, Any]] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            "avpipe.pipeline.output.show", lambda document, as_json, text: shown.append(document)
        )
        command(**options)
    (document,) = shown
    return document
