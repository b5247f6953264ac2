"""Messages over a pipe, of JSON values, bytes and arrays.

One message is the length of a text (4 bytes), the text, then the raw buffers the text announces.
Nothing that arrives is executed or unpickled, and announced sizes are checked before anything is
allocated.
"""

from __future__ import annotations

import json
import math
import select
import struct
import time
from collections.abc import Mapping
from typing import IO, Any

import numpy as np

from ...reading import parse_json

_LENGTH = struct.Struct("<I")
_MAX_TEXT = 1 << 20
_MAX_BUFFER = 1 << 28
_DTYPES = ("uint8", "int16", "float16", "float32")


def send(pipe: IO[bytes], message: Mapping[str, Any]) -> None:
    """Write one message.

    Args:
        pipe: Unbuffered.
        message: Values that JSON knows, bytes, and arrays of a few dtypes.

    Raises:
        BrokenPipeError: Nobody reads any more.
    """
    values: dict[str, Any] = {}
    announced: list[tuple[str, str, tuple[int, ...]]] = []
    buffers: list[memoryview] = []
    for key, value in message.items():
        if isinstance(value, bytes):
            announced.append((key, "bytes", (len(value),)))
            buffers.append(memoryview(value))
        elif isinstance(value, np.ndarray):
            announced.append((key, value.dtype.name, value.shape))
            buffers.append(np.ascontiguousarray(value).reshape(-1).view(np.uint8).data)
        else:
            values[key] = value
    text = json.dumps([values, announced]).encode()
    for part in (memoryview(_LENGTH.pack(len(text)) + text), *buffers):
        rest = part
        while len(rest):
            rest = rest[pipe.write(rest) :]


def receive(pipe: IO[bytes], deadline: float | None = None) -> dict[str, Any]:
    """Read one message; bytes and arrays come back as they were sent, tuples as lists.

    Args:
        pipe: Unbuffered.
        deadline: On the clock of `time.monotonic`; None to wait for ever.

    Raises:
        EOFError: The other side is gone, or what it says makes no sense.
        TimeoutError: The message was not complete at the deadline.
    """
    (length,) = _LENGTH.unpack(_read(pipe, _LENGTH.size, deadline))
    if length > _MAX_TEXT:
        raise EOFError("a message of an absurd length")
    text = _read(pipe, length, deadline)
    message: dict[str, Any]
    try:
        message, announced = parse_json(text)
    except (ValueError, TypeError):
        raise EOFError("a message that is no JSON") from None
    for key, dtype, shape in announced:
        if dtype == "bytes":
            message[key] = bytes(_read(pipe, shape[0], deadline))
        elif dtype in _DTYPES:
            size = math.prod(shape) * np.dtype(dtype).itemsize
            message[key] = np.frombuffer(_read(pipe, size, deadline), dtype).reshape(shape)
        else:
            raise EOFError("a message with an unknown kind of buffer")
    return message


def _read(pipe: IO[bytes], size: int, deadline: float | None) -> bytearray:
    """Read exactly `size` bytes."""
    if not 0 <= size <= _MAX_BUFFER:
        raise EOFError("a message of an absurd length")
    buffer = bytearray(size)
    rest = memoryview(buffer)
    ready = select.poll()  # select.select knows no pipe beyond the 1,024th open file
    ready.register(pipe, select.POLLIN)
    while len(rest):
        if deadline is not None:
            left_s = deadline - time.monotonic()
            if left_s <= 0 or not ready.poll(1000 * left_s):
                raise TimeoutError
        count = pipe.readinto(rest)  # type: ignore[attr-defined]  # typeshed gives IO no readinto
        if not count:
            raise EOFError
        rest = rest[count:]
    return buffer
