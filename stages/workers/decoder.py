"""Clips are decoded in a child process: a crash, a hang or a leak there costs one clip and no run.

`DecoderChild` is the parent's side, `python -m avpipe.stages.workers.decoder` the child.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from ...errors import ClipError, Reason
from .child import MEMORY_BYTES, TIMEOUT_S, Answerer, Child, Message, serve

if TYPE_CHECKING:
    from ..features import FeatureParams, Row

__all__ = ["MEMORY_BYTES", "TIMEOUT_S", "DecoderChild", "main"]

_COMMAND = (sys.executable, "-m", "avpipe.stages.workers.decoder")
_BEFORE_REJECTION = (Reason.MISSING, Reason.IO_ERROR, Reason.EMPTY, Reason.NOT_MEDIA)


class DecoderChild(Child):
    """One decoder process, restarted whenever a clip takes it down.

    For one thread, with which the child dies.
    """

    def __init__(
        self,
        params: FeatureParams,
        *,
        timeout_s: float = TIMEOUT_S,
        memory_bytes: int = MEMORY_BYTES,
        command: Sequence[str] = _COMMAND,
    ) -> None:
        """Remember what to run; the process starts with the first clip.

        Args:
            params: What to compute of each clip.
            timeout_s: Wall-clock limit for one clip.
            memory_bytes: Limit of the child's address space.
            command: The child's command line.
        """
        hello = {"params": asdict(params)}
        super().__init__(command, hello, timeout_s=timeout_s, memory_bytes=memory_bytes)

    def row(self, line: Mapping[str, Any]) -> Row:
        """Decode one clip and compute what the cache stores of it.

        Args:
            line: `path` (absolute) and, where they apply, `audio_path`, `start_s`, `seconds`,
                `folder`, below which files are named, and `reject`: a reason known beforehand,
                which gives way to missing, io_error, empty and not_media. `detail` says in words
                why it is rejected, or what was looked for. Other keys are ignored.

        Raises:
            ClipError: The clip cannot be used; timeout, oom and crashed included.
            AvpipeError: The child cannot run at all.
        """
        row = self.ask({"do": "row", **line})
        row["frame_hw"], row["valid_cols"] = tuple(row["frame_hw"]), tuple(row["valid_cols"])
        return cast("Row", row)

    def duration(self, path: str) -> float:
        """Return the length of a file's video in seconds.

        Raises:
            ClipError: The file cannot be opened or has no video; timeout, oom and crashed included.
            AvpipeError: The child cannot run at all.
        """
        return cast("float", self.ask({"do": "duration", "path": path})["duration_s"])

    def picture(self, path: str) -> bytes:
        """Return a picture file as JPEG, upright and with a short side of at most 1080.

        Raises:
            ClipError: It cannot be used: missing, empty, not_media, too_large, decode_error, ...;
                timeout, oom and crashed included.
            AvpipeError: The child cannot run at all.
        """
        return cast("bytes", self.ask({"do": "picture", "path": path})["jpeg"])


def main() -> None:
    """Be the child: answer requests until standard input ends."""
    serve(_prepare)


def _prepare(hello: Message) -> Answerer:
    """Import what decoding needs; return what answers requests."""
    from ..features import FeatureParams

    params = FeatureParams(**hello["params"])
    return lambda request: answer(request, params)


def answer(request: Message, params: FeatureParams) -> Message:
    """Return the row, the duration or the picture asked for.

    Raises:
        ClipError: What prevents it.
    """
    from .. import media

    path = request["path"]
    if request["do"] == "duration":
        return {"duration_s": media.probe_duration(path)}
    if request["do"] == "picture":
        from ..media.still import read_picture

        return {"jpeg": read_picture(path, params.max_pixels)}
    try:
        return _row(request, params)
    except ClipError as error:
        if error.reason == Reason.MISSING:
            _require_files(request)
        raise


def _row(request: Message, params: FeatureParams) -> Message:
    """Return the row asked for.

    Raises:
        ClipError: What prevents it.
    """
    from .. import features
    from ..media import container

    path = request["path"]
    if request.get("reject"):
        try:
            container.check_media(path)
        except ClipError as error:
            if error.reason in _BEFORE_REJECTION:
                raise
        raise ClipError(request["reject"], request.get("detail", ""))

    def row() -> Message:
        made = features.make_row(
            path,
            start_s=request.get("start_s"),
            seconds=request.get("seconds"),
            audio_path=request.get("audio_path"),
            params=params,
        )
        return cast("Message", made)

    try:
        with container.doubting():
            return row()
    except container.DoubtfulError:
        return row()


def _require_files(request: Message) -> None:
    """Say which of a clip's files are missing, and which is not, by their names below the folder.

    Raises:
        ClipError: missing.
    """
    paths = [request[key] for key in ("path", "audio_path") if request.get(key)]
    missing = [path for path in paths if _is_missing(path)]
    if not missing:
        return
    names = [_name(path, request.get("folder")) for path in missing]
    detail = f"there is no {' and no '.join(names)}"
    if os.path.islink(missing[0]):  # noqa: PTH114
        detail = f"{names[0]} is a link to a file that is missing"
    elif paths[0] == missing[0] and not request.get("reject"):
        detail = request.get("detail") or detail
    there = [_name(path, request.get("folder")) for path in paths if path not in missing]
    raise ClipError(Reason.MISSING, "; ".join([detail, *(f"{name} is there" for name in there)]))


def _is_missing(path: str) -> bool:
    from ..media.container import check_file

    try:
        check_file(path)
    except ClipError as error:
        return error.reason == Reason.MISSING
    return False


def _name(path: str, folder: str | None) -> str:
    """Return a file's path below the folder; a cache must not depend on where that lies."""
    if folder is None:
        return Path(path).name
    return path.removeprefix(os.path.join(folder, ""))  # noqa: PTH118


if __name__ == "__main__":
    main()
