"""What `verify` says of folders that hold `SHA256SUMS`: worlds, and caches that were exported."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...reading import parse_json, read_regular
from ...stages.sums import SUMS, made_with, names_in_sums, summed_files
from ..output import Document
from .document import document


@dataclass(frozen=True)
class SummedKind:
    """A kind of folder.

    Attributes:
        command: Makes it, and finishes one that was begun.
        stamp: The file that says what it is of; with the key `sums` where there will be sums.
        options: Returns what the command was given, by the stamp's content, as a shell takes it.
        is_finished: Whether nothing but the sums can be missing, by the stamp's content.
    """

    command: str
    stamp: str
    options: Callable[[Path, Mapping[str, Any]], str]
    is_finished: Callable[[Path, Mapping[str, Any]], bool]

    def holds(self, folder: Path) -> bool:
        """Whether a folder is of this kind, by its stamp or by sums that name it."""
        return (folder / self.stamp).exists() or self.stamp in names_in_sums(folder)

    def verify(self, folder: Path) -> Document:
        """Read every file of a folder; return the `avpipe.verify/1` document."""
        stamp = _read_stamp(folder / self.stamp)
        found, notices = dict(summed_files(folder)), list[str]()
        if SUMS not in found:
            notices += self._without_sums(folder, stamp, found)
        if stamp is None and not found.get(self.stamp):
            is_there = (folder / self.stamp).exists()
            found[self.stamp] = "not a JSON object" if is_there else "missing"
        damaged = {name: problem for name, problem in found.items() if problem}
        options = made_with(folder)
        if options is None and stamp is not None and self.stamp not in damaged:
            options = self.options(folder, stamp)
        commands, lost = list[str](), list[str]()
        if damaged and options is not None:
            spoilt = [str(folder / name) for name in damaged if (folder / name).exists()]
            commands += [shlex.join(["rm", "-f", *spoilt])] if spoilt else []
            commands.append(f"avpipe {self.command} {shlex.quote(str(folder))} {options}".strip())
        elif damaged:
            lost.append(
                f"{self.stamp}: `avpipe {self.command}` into another folder makes all again"
            )
        if SUMS in damaged and commands:
            notices.append(
                f"{folder / SUMS} will be of the files as they are: damage in them would not be "
                "noticed"
            )
        there = [folder / name for name in found if (folder / name).is_file()]
        return document(
            files=len(there),
            size=sum(path.stat().st_size for path in there),
            damaged=damaged,
            commands=commands,
            lost=lost,
            notices=notices,
        )

    def _without_sums(
        self, folder: Path, stamp: Mapping[str, Any] | None, found: dict[str, str]
    ) -> Iterator[str]:
        """Take up a folder without sums as damaged, or yield why it is not."""
        if stamp is not None and not self.is_finished(folder, stamp):
            yield f"{folder} is not finished: the same `avpipe {self.command}` goes on"
        elif stamp is not None and "sums" not in stamp:
            yield f"{folder} has no {SUMS}, an older avpipe made it: damage would not be noticed"
        else:
            found[SUMS] = "missing"


def _read_stamp(path: Path) -> Mapping[str, Any] | None:
    """Return what a stamp says; None where it is missing or says nothing."""
    try:
        stamp = parse_json(read_regular(path))
    except (FileNotFoundError, ValueError):
        return None
    return stamp if isinstance(stamp, dict) else None
