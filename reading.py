"""Files that others wrote: opened only where they are files, and read as JSON, TOML or XML.

Whatever is wrong in one is a `ValueError`. The parsers of the standard library have more ways to
fail: text nested a hundred thousand deep ends in a RecursionError, a file that fills the memory in
a MemoryError. Of pictures it is what Pillow raises.
"""

from __future__ import annotations

import errno
import io
import json
import os
import re
import stat
import struct
import tomllib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from json.scanner import make_scanner
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

PICTURE_DAMAGE = (OSError, ValueError, SyntaxError, EOFError, struct.error)
"""What Pillow raises of damaged files."""
MAX_TOML_BYTES = 1 << 18
"""A settings file or a recipe has a hundred lines; time grows with the square of some files."""
TOO_LARGE = f"larger than {MAX_TOML_BYTES // 1024} kB, which no settings are"
_MAX_DOTS = 200  # of a key `a.a.a...`, which takes time with the square of its length
_SCAN: Callable[[str, int], tuple[Any, int]] = make_scanner(json.JSONDecoder())  # type: ignore[arg-type]  # it takes one
_BETWEEN_KEYS = re.compile(r"[\n,=\[\]{}]")


def open_regular(path: Path) -> io.BufferedReader:
    """Open a file to read its bytes; a FIFO is refused where `Path.open` waits for its writer.

    Raises:
        OSError: It cannot be opened; ENXIO ("not a regular file") of a FIFO, socket or device.
    """
    # with an opener the file keeps its name, by which a read that fails is told
    return open(str(path), "rb", opener=_regular)


def read_regular(path: Path) -> bytes:
    """Read a whole file.

    Raises:
        OSError: As `open_regular`.
    """
    with open_regular(path) as file:
        return file.read()


def is_no_file(error: OSError) -> bool:
    """Whether nothing is there, or something else than a file: not being allowed says nothing."""
    return error.errno in (errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ENXIO)


def _regular(path: str, flags: int) -> int:
    no_file = OSError(errno.ENXIO, "not a regular file", path)
    try:
        fd = os.open(path, flags | os.O_NONBLOCK)
    except OSError as error:
        raise (no_file if error.errno == errno.ENXIO else error) from None  # of a socket
    mode = os.fstat(fd).st_mode
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):  # a folder is refused behind this
        os.close(fd)
        raise no_file
    return fd


def parse_json(content: str | bytes | bytearray) -> Any:
    """Parse JSON.

    Raises:
        ValueError: It is none.
    """
    with _told():
        return json.loads(content)


def parse_json_once(content: bytes) -> Any:
    """Parse JSON whose objects have each name once, where `parse_json` takes the last.

    Raises:
        ValueError: It is none, or a name comes twice in an object.
    """

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) < len(pairs):
            names = [name for name, _ in pairs]
            raise ValueError(f"{next(name for name in names if names.count(name) > 1)} comes twice")
        return found

    with _told():
        return json.loads(content, object_pairs_hook=once)


def parse_json_lines(content: bytes) -> Iterator[Any]:
    """Parse lines of JSON, each ended by a line feed, one value a line.

    Raises:
        ValueError: A line is none; those before it have been given.
    """
    for line in content.split(b"\n")[:-1]:
        try:
            value, end = _SCAN(line.decode("ascii"), 0)
        except Exception:  # the slow way takes other encodings, and says what is wrong
            end = -1
        yield value if end == len(line) else parse_json(line)


def parse_toml(text: str) -> dict[str, Any]:
    """Parse TOML.

    Raises:
        ValueError: It is none (`tomllib.TOMLDecodeError` where that can say where), or it is larger
            than any file of settings.
    """
    if len(text) > MAX_TOML_BYTES + 1:  # `read_toml` adds the end of the last line
        raise ValueError(TOO_LARGE)
    for part in _BETWEEN_KEYS.split(text):
        if part.count(".") > _MAX_DOTS and not part.lstrip().startswith("#"):
            raise ValueError(f"a key of more than {_MAX_DOTS} parts")
    with _told():
        return tomllib.loads(text)


def parse_xml(content: bytes) -> ElementTree.Element:
    """Parse XML.

    Raises:
        ValueError: It is none.
    """
    with _told():
        return ElementTree.fromstring(content)


@contextmanager
def _told() -> Iterator[None]:
    """Turn every way to fail into a ValueError."""
    try:
        yield
    except RecursionError:
        raise ValueError("nested too deeply") from None
    except MemoryError:
        raise ValueError("too large for this machine's memory") from None
    except ElementTree.ParseError as error:
        raise ValueError(str(error)) from None
    except UnicodeDecodeError as error:
        raise ValueError(f"byte {error.start}: {error.reason}, it is not UTF-8") from None
    except ValueError as error:
        if "int_max_str_digits" not in str(error):
            raise
        raise ValueError("a whole number of thousands of digits") from None
