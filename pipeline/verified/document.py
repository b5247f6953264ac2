"""What `avpipe verify --json` prints, of whatever it looked at."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ..output import Document


def document(
    *,
    files: int,
    size: int,
    damaged: Mapping[str, str],
    commands: Sequence[str],
    lost: Sequence[str],
    notices: Sequence[str] = (),
    repaired: Sequence[str] = (),
    is_sound: bool | None = None,
) -> Document:
    """Return an `avpipe.verify/1` document.

    Args:
        files: How many files were read.
        size: Their bytes.
        damaged: What is wrong, by the file's path below what was looked at.
        commands: Lines to run, from the first to the last.
        lost: What no command brings back.
        notices: What else should be known.
        repaired: What was done about the damage.
        is_sound: Whether it is sound now; by default where nothing is damaged.
    """
    return {
        "schema": "avpipe.verify/1",
        "ok": not damaged if is_sound is None else is_sound,
        "files": files,
        "bytes": size,
        "damaged": dict(damaged),
        "repaired": list(repaired),
        "commands": list(commands),
        "lost": list(lost),
        "notices": list(notices),
    }
