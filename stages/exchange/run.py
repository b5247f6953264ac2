"""`export-cache`: clips of a cache in the files of another format, whole or not there.

A file appears by a rename, so the same call after a kill writes those that are missing. The folder
is marked first with what it is of: another cache, list or choice of columns is refused. The table
of clips comes last, and the sums of all files.
"""

from __future__ import annotations

import json
import shlex
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from itertools import pairwise
from pathlib import Path
from typing import Any, Protocol, cast

from ...advice import asked
from ...cache.schema import AUDIO, EXTRACT, digest, shard_path
from ...cache.shard import read_header
from ...cache.stale import digest_of_shards
from ...cache.state import shard_numbers
from ...cache.store import Cache, ColumnView
from ...drafts import remove_orphans, whole, write_whole
from ...errors import MissingDependencyError, UsageError
from ...reading import parse_json, read_regular
from ..neighbors.vectors import IdSet, id_set
from ..sums import SUMS, is_summed, sums_text
from . import MARK, WORKERS, ExchangeFormat
from .items import Reader, Spec, TableRow, columns_of, spec_of, table_rows

SCHEMA = "avpipe.exchange/1"
_CLIPS_IN_A_FILE = 1000
"""At most, so that files are neither many nor large: a GB with maps of 2048 x 7 x 7."""


class FormatModule(Protocol):
    """What a file of a format's name defines."""

    SUFFIX: str
    TABLE: str

    def write(self, path: Path, items: Any, columns: Mapping[str, Spec]) -> None:
        """Write a file of clips."""

    def write_table(self, path: Path, rows: Sequence[TableRow]) -> None:
        """Write the table of clips."""


@dataclass(frozen=True)
class ExportSummary:
    """What an export holds; counts are clips, but for `files`.

    Attributes:
        out: The folder.
        files: Files of clips.
        clips: In them.
        done: Written by this call.
        skipped: Written before.
        notices: What the user should know, one line each.
        seconds: Wall-clock time.
    """

    out: Path
    files: int
    clips: int
    done: int
    skipped: int
    notices: tuple[str, ...]
    seconds: float


def export_cache(
    cache: Cache,
    out: Path,
    name: ExchangeFormat,
    *,
    ids: Collection[str] | None = None,
    columns: Sequence[str] | None = None,
    workers: int = WORKERS,
    progress: Callable[[int, int], None] | None = None,
) -> ExportSummary:
    """Write frames, sounds and columns of clips, and a table of all clips.

    Args:
        cache: The cache.
        out: Folder, made if needed.
        name: The format.
        ids: Clips to take; all that are done if None.
        columns: What goes along, as `Cache.column` takes it; None: every teacher's hints.
        workers: Loader workers, each of which is to have a file of its own.
        progress: Called with (clips done, clips).

    Raises:
        InputError: No clip is left, or there is no such column.
        UsageError: The folder holds something else.
        MissingDependencyError: The package that writes the format is missing.
        CacheUnwritableError: The folder cannot be written; the same call goes on.
    """
    started, write = time.monotonic(), load_format(name)
    views, chosen = columns_of(cache, columns), id_set(cache, ids, ())
    rows, notices = chosen.rows.tolist(), list(chosen.notices)
    specs = _specs(views, rows, notices)
    groups = _groups(rows, workers)
    if len(groups) < workers:
        notices.append(f"{len(rows)} clips make {len(groups)} files: no more workers have any")
    width = max(6, len(str(len(groups) - 1)))
    files = [f"clips-{number:0{width}d}{write.SUFFIX}" for number in range(len(groups))]
    _claim(out, _mark(cache, name, chosen, specs, files))
    remove_orphans(out)
    reader, done, skipped = Reader(cache, {name: views[name] for name in specs}), 0, 0
    made = {write.TABLE}
    if not reader.sounds:
        notices.append("the sounds were dropped: frames and columns alone are exported")
    for file, group in zip(files, groups, strict=True):
        if (out / file).exists():
            skipped += len(group)
        else:
            with whole(out / file) as draft:
                write.write(draft, reader.read(group), specs)
            done += len(group)
            made.add(file)
        if progress:
            progress(done + skipped, len(rows))
    file_of = {row: file for file, group in zip(files, groups, strict=True) for row in group}
    with whole(out / write.TABLE) as draft:
        write.write_table(draft, table_rows(cache, file_of, None if ids is None else set(ids)))
    write_whole(out / SUMS, sums_text(out, {MARK, write.TABLE, *files}, made, _options()).encode())
    return ExportSummary(
        out, len(files), len(rows), done, skipped, tuple(notices), time.monotonic() - started
    )


def load_format(name: ExchangeFormat) -> FormatModule:
    """Return the module that writes a format.

    Raises:
        MissingDependencyError: Its package is missing.
    """
    try:
        return cast(FormatModule, import_module(f".{name}", __package__))
    except ModuleNotFoundError as error:
        raise MissingDependencyError(
            f"{name} needs {error.name}: pip install 'avpipe[exchange]'"
        ) from None


def _specs(
    views: Mapping[str, ColumnView], rows: Sequence[int], notices: list[str]
) -> dict[str, Spec]:
    """Return what each column has of a clip; what clips lack is noted."""
    specs = {}
    for name, view in views.items():
        spec, have = spec_of(view, rows)
        if spec is not None:
            specs[name] = spec
        if have < len(rows):
            notices.append(f"{name} has {have} of the {len(rows)} clips; the others go without it")
    return specs


def _groups(rows: Sequence[int], workers: int) -> list[list[int]]:
    """Cut rows into files: as many as workers or more, none empty, none larger by two clips."""
    num = min(len(rows), max(workers, -(-len(rows) // _CLIPS_IN_A_FILE)))
    ends = [len(rows) * number // num for number in range(num + 1)]
    return [list(rows[low:high]) for low, high in pairwise(ends)]


def _mark(
    cache: Cache, name: str, chosen: IdSet, specs: Mapping[str, Spec], files: Sequence[str]
) -> dict[str, Any]:
    """Say what an export is of: equal marks are equal files."""
    stages = {EXTRACT, AUDIO, *(_stage_of(cache, column) for column in specs)}
    made_of = {
        stage: digest_of_shards(
            read_header(shard_path(cache.path, stage, number))
            for number in sorted(chosen.shards & shard_numbers(cache.path, stage))
        )
        for stage in sorted(stages)
    }
    return {
        "schema": SCHEMA,
        "format": name,
        "clips": len(chosen.rows),
        "ids_sha256": chosen.digest,
        "cache_sha256": digest(made_of),
        "columns": {name: [spec.dtype, list(spec.shape)] for name, spec in specs.items()},
        "files": list(files),
    }


def _stage_of(cache: Cache, column: str) -> str:
    return column if shard_numbers(cache.path, column) else column.rpartition("/")[0]


def _options() -> str | None:
    """Return what the command that runs was given; None where Python code calls."""
    options = asked("export-cache")
    return None if options is None else shlex.join(word for one in options for word in one)


def _claim(out: Path, mark: Mapping[str, Any]) -> None:
    """Mark a folder as this export's.

    Raises:
        UsageError: It holds another export, or something else.
    """
    if out.exists() and not out.is_dir():
        raise UsageError(f"{out} is a file: name a folder")
    path = out / MARK
    content = (json.dumps({**mark, "sums": SUMS}, indent=1) + "\n").encode()
    if path.is_file():
        try:
            found = parse_json(read_regular(path))
        except ValueError:
            found = {}
        for key, value in mark.items():
            if not isinstance(found, dict) or found.get(key) != value:
                raise UsageError(f"{out} holds another export ({key} differs): name another folder")
        return
    is_used = out.is_dir() and any(not entry.name.startswith(".") for entry in out.iterdir())
    if is_used and not is_summed(out, MARK, content):  # else the mark alone is gone
        raise UsageError(f"{out} is not empty, and holds no export: name another folder")
    write_whole(path, content)
