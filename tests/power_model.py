"""What may lie on a disk after the power failed: a small model of files, blocks and folders.

It takes recorded calls one by one. What was synced is durable: of a file its content and length, of
a folder its names. All else is pending, and a crash keeps or loses each piece for itself:

- a write block by block (4096 bytes), in any order; a length may be there without its blocks, which
  are then zeros;
- a name that was made, moved or taken away, in any order but that of one name in one folder;
  a rename is kept or lost whole, or a crash leaves both names of a file (a journal that is none);
- syncing a file says nothing about its name, syncing a folder nothing about its own name.

That is less than ext4, XFS and Btrfs promise; POSIX promises no more.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

from witnessed import Event

BLOCK = 4096
State = Mapping[str, bytes | None]
"""Path below the folder to a file's content; None for a folder."""


class Content:
    """A file: what is in it, what is durable of that, and what was done since."""

    def __init__(self, content: bytes = b"") -> None:
        """Begin with a file that is durable."""
        self.live = bytearray(content)
        self.durable = content
        self.pending: list[tuple[int, bytes | None]] = []
        self._seen: bytes | None = content

    def now(self) -> bytes:
        """Return what is in it; the same object as long as it is the same."""
        if self._seen is None:
            self._seen = bytes(self.live)
        return self._seen

    def write(self, at: int, content: bytes) -> None:
        """Put bytes somewhere."""
        _put(self.live, at, content)
        self.pending.append((at, content))
        self._seen = None

    def resize(self, size: int) -> None:
        """Cut it, or let zeros follow."""
        if size != len(self.live):
            _resize(self.live, size)
            self.pending.append((size, None))
            self._seen = None

    def sync(self) -> None:
        """Make all of it durable."""
        if self.pending:
            self.durable, self.pending = self.now(), []

    def after(self, keep: Callable[[], bool] | None, has_length: bool) -> bytes:
        """Return what a crash leaves.

        Args:
            keep: Whether a block, or a change of length, is kept; asked for each. None: all are.
            has_length: Whether the length is what it was.
        """
        if keep is None or not self.pending:
            return self.now()
        found = bytearray(self.durable)
        for at, content in self.pending:
            if content is None:
                if keep():
                    _resize(found, at)
                continue
            while content:
                piece = content[: BLOCK - at % BLOCK]
                if keep():
                    _put(found, at, piece)
                at, content = at + len(piece), content[len(piece) :]
        if has_length:
            _resize(found, len(self.live))
        return bytes(found)


class Folder(dict[str, "Content | Folder"]):
    """Names in a folder; one is itself and no other."""

    __hash__ = object.__hash__

    def __eq__(self, other: object) -> bool:
        """Whether it is the same folder."""
        return self is other

    def __init__(self) -> None:
        """Begin empty."""
        super().__init__()
        self.durable: dict[str, Content | Folder] = {}


Naming = tuple[Folder, str, "Content | Folder | None"]


@dataclass
class Disk:
    """A folder, what is durable of it, and which names are pending.

    Attributes:
        top: Its path.
        root: What it is.
        pending: Changes of names that no sync has made durable; each is one or two names.
    """

    top: Path
    root: Folder = field(default_factory=Folder)
    pending: list[tuple[Naming, ...]] = field(default_factory=list)
    _open: dict[int, Content] = field(default_factory=dict)

    @classmethod
    def of(cls, top: Path) -> Disk:
        """Take a folder as it is; all of it is durable."""
        disk = cls(top)
        for path in sorted(top.rglob("*")):
            node = Folder() if path.is_dir() else Content(path.read_bytes())
            folder, name = disk._at(path)
            folder[name] = folder.durable[name] = node
        return disk

    def _at(self, path: str | Path) -> tuple[Folder, str]:
        """Return the folder that a path's last name is in, and that name."""
        *above, name = Path(path).relative_to(self.top).parts or ("",)
        folder = self.root
        for part in above:
            below = folder[part]
            assert isinstance(below, Folder)
            folder = below
        return folder, name

    def find(self, path: str | Path) -> Content | Folder | None:
        """Return what a path names now."""
        try:
            folder, name = self._at(path)
        except KeyError:
            return None
        return folder.get(name) if name else self.root

    def apply(self, event: Event) -> None:
        """Do what was recorded."""
        if event.kind in ("write", "truncate"):
            file = self._open[event.inode]
            if event.kind == "write":
                file.write(event.at, event.content)
            else:
                file.resize(max(event.at, len(file.live)) if event.flag else event.at)
        elif event.kind == "fsync":
            node = self.find(event.path)
            if isinstance(node, Folder):
                self._settle(node)
            elif file := self._open.get(event.inode, node):
                file.sync()
        elif event.kind == "create":
            found = self.find(event.path)
            if not isinstance(found, Content):
                found = Content()
                self._name((*self._at(event.path), found))
            if event.flag:
                found.resize(0)
            self._open[event.inode] = found
        elif event.kind in ("rename", "link"):
            node = self.find(event.path)
            moved = (*self._at(event.target), node)
            away = ((*self._at(event.path), None),) if event.kind == "rename" else ()
            self._name(*away, moved)
        elif event.kind in ("mkdir", "unlink", "rmdir"):
            made = Folder() if event.kind == "mkdir" else None
            self._name((*self._at(event.path), made))

    def _name(self, *changes: Naming) -> None:
        """Change names, for now."""
        for folder, name, node in changes:
            _enter(folder, name, node)
        self.pending.append(changes)

    def _settle(self, folder: Folder) -> None:
        """Make the names in a folder durable, and what was done before to the same names."""
        names: set[tuple[int, str]] = set()
        kept, forced = [], []
        for change in reversed(self.pending):
            keys = {(id(where), name) for where, name, _ in change}
            if any(where is folder for where, _, _ in change) or keys & names:
                names |= keys
                forced.append(change)
            else:
                kept.append(change)
        self.pending = kept[::-1]
        for change in reversed(forced):
            for where, name, node in change:
                _enter(where.durable, name, node)

    def now(self) -> State:
        """Return what lies there as long as the power is on."""
        return dict(_walk(self.root, dict, Content.now))

    def crashed(self, choice: Choice) -> State:
        """Return what lies there after a crash that chooses so."""
        names: dict[Folder, dict[str, Content | Folder]] = {}

        def of(folder: Folder) -> dict[str, Content | Folder]:
            if folder not in names:
                names[folder] = dict(folder.durable)
            return names[folder]

        for number, change in enumerate(self.pending):
            kept = choice.names(number)
            for folder, name, node in change if kept else ():
                is_left = node is None and len(change) == 2  # the old name of a rename
                if kept == "both" and is_left and not isinstance(change[1][2], Folder):
                    continue
                _enter(of(folder), name, node)
        return dict(_walk(self.root, of, choice.content))

    def choices(self, rng: random.Random, num_random: int) -> Iterator[Choice]:
        """Yield ways to crash now: the plain ones, each name for itself, and some at random."""
        count = len(self.pending)
        yield Choice("all is kept")
        yield Choice("all is lost", names=lambda _: "", keep=lambda: False, has_length=False)
        yield Choice("names without content", keep=lambda: False, has_length=False)
        yield Choice("names and lengths", keep=lambda: False)
        yield Choice("content without names", names=lambda _: "")
        for one in range(count):
            yield Choice(f"but name {one}", names=lambda n, one=one: "" if n == one else "kept")
            yield Choice(f"name {one} alone", names=lambda n, one=one: "kept" if n == one else "")
        for number in range(num_random if count or self._has_pending() else 0):
            own = random.Random(rng.random())
            share, way = own.random(), own.choice(("kept", "kept", "both"))
            picked = [way if own.random() < share else "" for _ in range(count)]
            yield Choice(
                f"at random {number}",
                names=picked.__getitem__,
                keep=lambda own=own: own.random() < 0.5,
                has_length=own.random() < 0.5,
            )

    def _has_pending(self) -> bool:
        return any(file.pending for file in self._open.values())


@dataclass(frozen=True)
class Choice:
    """What a crash does.

    Attributes:
        name: In words.
        names: What becomes of the n-th pending change of names: "kept", "both" where the old name
            of a file is kept too, "" where it is lost.
        keep: Whether a pending block is kept; asked for each. None: all are.
        has_length: Whether a file has its last length.
    """

    name: str
    names: Callable[[int], str] = lambda _: "kept"
    keep: Callable[[], bool] | None = None
    has_length: bool = True

    def content(self, file: Content) -> bytes:
        """Return what is left of a file."""
        return file.after(self.keep, self.has_length)


def fingerprint(state: State) -> str:
    """Return a digest of a state."""
    digest = hashlib.sha256()
    for path in sorted(state):
        content = state[path]
        digest.update(path.encode(errors="surrogateescape") + b"\0")
        digest.update(b"/" if content is None else _sha256(content))
    return digest.hexdigest()


@lru_cache(256)
def _sha256(content: bytes) -> bytes:
    return hashlib.sha256(content).digest()


def lay(state: State, folder: Path) -> None:
    """Write a state into an empty folder."""
    for path in sorted(state):
        content = state[path]
        if content is None:
            (folder / path).mkdir()
        else:
            (folder / path).write_bytes(content)


def below(state: State, path: str) -> tuple[tuple[str, bytes | None], ...]:
    """Return what a path names in a state, with all below it; empty if nothing."""
    inside = ((name, state[name]) for name in state if name == path or name.startswith(f"{path}/"))
    return tuple(sorted(inside))


def _walk(
    root: Folder,
    names: Callable[[Folder], Mapping[str, Content | Folder]],
    content: Callable[[Content], bytes],
) -> Iterator[tuple[str, bytes | None]]:
    left: list[tuple[str, Folder]] = [("", root)]
    while left:
        above, folder = left.pop()
        for name, node in names(folder).items():
            if isinstance(node, Folder):
                yield above + name, None
                left.append((f"{above}{name}/", node))
            else:
                yield above + name, content(node)


def _enter(names: dict[str, Content | Folder], name: str, node: Content | Folder | None) -> None:
    if node is None:
        names.pop(name, None)
    else:
        names[name] = node


def _put(content: bytearray, at: int, piece: Sequence[int] | bytes) -> None:
    if len(content) < at:
        _resize(content, at)
    content[at : at + len(piece)] = piece


def _resize(content: bytearray, size: int) -> None:
    if size < len(content):
        del content[size:]
    else:
        content.extend(bytes(size - len(content)))
