"""Has a damaged file decoded as the product does, in its process, and judges the outcome."""

from __future__ import annotations

import io
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from avpipe.errors import ClipError, Reason
from avpipe.stages.features import FeatureParams, Row
from avpipe.stages.row_check import require_sane
from avpipe.stages.spectrogram import FRONT_ENDS
from avpipe.stages.workers.decoder import DecoderChild
from PIL import Image

from .mutate import BAIT
from .opened import Opened
from .recipe import Recipe
from .seeds import seed

LIMIT_S = 20.0
"""Wall clock of one input; a third of what `extract` allows, for clips of half a second."""
SLOW_S = 5.0
"""Of the process's own time."""
MUCH_BYTES = 1 << 30
"""Half of the memory that the decoder may have."""
_NEVER = (Reason.CRASHED, Reason.TIMEOUT, Reason.OOM, Reason.IO_ERROR, Reason.MISSING)
"""Reasons that no damaged file that is there should end with."""
_ROUND = 2000


@dataclass(frozen=True)
class Outcome:
    """What came of an input.

    Attributes:
        key: What makes it another outcome than others: kind of file, reason, detail without its
            numbers, how long it took.
        reason: `done`, or the reason.
        wrong: What must not happen, in words; "" where all is in order.
        busy_s: Time of the decoder's process.
    """

    key: str
    reason: str
    wrong: str
    busy_s: float


class Judge:
    """Keeps a decoder's process, and a folder in which inputs stand one at a time."""

    def __init__(self, folder: Path, params: FeatureParams, command: tuple[str, ...] = ()) -> None:
        """Begin to watch the folder.

        Args:
            folder: Empty, or made.
            params: Of the decoder.
            command: Of the decoder's process, if another than the product's.
        """
        folder.mkdir(parents=True, exist_ok=True)
        (folder / BAIT).write_bytes(seed("mp4-mpeg4-libmp3lame"))
        self._folder, self.params = folder, params
        more = {"command": command} if command else {}
        self._child = DecoderChild(params, timeout_s=LIMIT_S, **more)
        self._opened = Opened(folder)
        self._seen = 0
        self._busy_s = 0.0
        self._pid: int | None = None
        self._files = 0
        self.most_bytes = 0
        """The most memory that the process has had."""

    def __enter__(self) -> Judge:
        """Return itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """End the process."""
        self._child.close()
        self._opened.close()

    def judge(self, recipe: Recipe, seeds: Mapping[str, bytes] | None = None) -> Outcome:
        """Write the file, have it decoded, say what came of it."""
        suffix = recipe.seed.partition("-")[0]
        names = {f"input.{suffix}"}
        path = self._folder / f"input.{suffix}"
        path.write_bytes(recipe.content(seeds))
        line: dict[str, Any] = {"do": "row", "path": str(path), **dict(recipe.ask)}
        if recipe.beside:
            kind = recipe.beside.partition("-")[0]
            beside = self._folder / f"beside.{kind}"
            beside.write_bytes(seeds[recipe.beside] if seeds else seed(recipe.beside))
            names.add(beside.name)
            line["audio_path"] = str(beside)
            if recipe.seed.partition("-")[0] not in ("jpg", "png"):  # the sound is damaged
                line["path"], line["audio_path"] = line["audio_path"], line["path"]
        reason, detail, wrong = self._asked(line)
        busy_s = self._busy_since()
        touched = self._opened.names() - names
        wrong = wrong or self._wrong(reason, detail, busy_s)
        if touched:
            wrong = f"opened {', '.join(sorted(touched))}"
        for name in names:
            (self._folder / name).unlink()
        self._opened.names()
        masked = re.sub(r"[0-9]+", "#", detail)
        bucket = max(int(busy_s * 100), 1).bit_length() if busy_s > 0.08 else 0
        key = f"{suffix} {line['do']} {reason} {masked} {bucket}"
        return Outcome(key, reason, wrong, busy_s)

    def _asked(self, line: Mapping[str, Any]) -> tuple[str, str, str]:
        """Return the reason (`done` if none), its detail, and what is wrong with a row."""
        try:
            if line["do"] == "duration":
                length_s = self._child.duration(line["path"])
                wrong = "" if np.isfinite(length_s) and length_s >= 0 else f"a length of {length_s}"
                return "done", "", wrong
            if line["do"] == "picture":
                return "done", "", _wrong_jpeg(self._child.picture(line["path"]))
            row = self._child.row(line)
        except ClipError as error:
            return str(error.reason), error.detail, ""
        return "done", f"{row['silent']} {row['short']}", _wrong_row(row, self.params)

    def _busy_since(self) -> float:
        """Return the time of the process since the last call; look at its memory too."""
        pid = self._child.pid
        if pid is None:
            return 0.0
        with suppress(FileNotFoundError, ProcessLookupError):
            busy_s = int(Path(f"/proc/{pid}/schedstat").read_text().split()[0]) / 1e9
            status = Path(f"/proc/{pid}/status").read_text()
            self.most_bytes = max(self.most_bytes, _kilobytes(status, "VmHWM") << 10)
            new = pid != self._pid
            since, self._busy_s = (0.0 if new else busy_s - self._busy_s), busy_s
            if new:
                self._pid, self._files = pid, _num_files(pid)
            return since
        return 0.0

    def _wrong(self, reason: str, detail: str, busy_s: float) -> str:
        """Say what is wrong with how an input ended."""
        if reason in _NEVER:
            return f"{reason}: {detail}"
        if busy_s > SLOW_S:
            return f"slow: {reason} after more than {SLOW_S:g} s"
        if reason != "done" and (not detail or "\n" in detail or str(self._folder) in detail):
            return f"a detail that is none: {detail!r}"
        if self.most_bytes > MUCH_BYTES:
            self.most_bytes = 0
            self._child.close()
            return f"much memory: {reason}"
        self._seen += 1
        if self._seen % _ROUND == 0 and (pid := self._child.pid) is not None:
            files = _num_files(pid)
            if files > self._files:
                return f"{files} files are open, {self._files} were"
        return ""

    def again(self, recipe: Recipe, seeds: Mapping[str, bytes] | None = None) -> Outcome:
        """Judge an input in a new process, as `extract` tries what may pass once more."""
        self._child.close()
        self._pid, self.most_bytes = None, 0
        return self.judge(recipe, seeds)

    def resident_bytes(self) -> int:
        """Return what the process holds now, 0 where none runs."""
        with suppress(FileNotFoundError, ProcessLookupError):
            return _kilobytes(Path(f"/proc/{self._child.pid}/status").read_text(), "RssAnon") << 10
        return 0


def _num_files(pid: int) -> int:
    return sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir())


def _kilobytes(status: str, name: str) -> int:
    return int(status.split(f"{name}:")[1].split()[0])


def _wrong_jpeg(jpeg: bytes) -> str:
    try:
        with Image.open(io.BytesIO(jpeg), formats=("JPEG",)) as opened:
            opened.load()
            return "" if opened.mode == "RGB" else f"a JPEG of mode {opened.mode}"
    except (OSError, ValueError, SyntaxError) as error:
        return f"a JPEG that is none: {error}"


def _wrong_row(row: Row, params: FeatureParams) -> str:
    """Say what is wrong with a done row: by the product's own gate, and by looking at it anew."""
    front_end = FRONT_ENDS[params.spectrogram]
    most = round(params.audio_seconds * 32000)
    try:
        require_sane(
            row, wide_columns=front_end.wide_columns, max_samples=most, decibels=front_end.mel
        )
    except ClipError as error:
        return f"a row that is not sane: {error}"
    if not np.isfinite(row["spectrogram_wide"].astype(np.float32)).all():
        return "a spectrogram that is not finite"
    if wrong := _wrong_jpeg(row["frame_jpeg"]):
        return wrong
    with Image.open(io.BytesIO(row["frame_jpeg"])) as opened:
        same = opened.size == row["frame_hw"][::-1]
    return "" if same else f"a picture of {opened.size} that says {row['frame_hw']}"
