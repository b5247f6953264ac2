"""TensorBoard's files of curves, looked at without TensorBoard: each record has two checksums.

A record is the length of its content (8 bytes, little endian), the masked CRC-32C of those bytes,
the content, and its masked CRC-32C, 4 bytes each, as TFRecord files are documented
(https://www.tensorflow.org/tutorials/load_data/tfrecord); CRC-32C is that of RFC 3720, B.4.
"""

from __future__ import annotations

import struct

_POLYNOMIAL = 0x82F63B78
"""Castagnoli's, its bits reversed."""
_MASK = 0xA282EAD8


def _row(value: int) -> int:
    for _ in range(8):
        value = value >> 1 ^ (_POLYNOMIAL if value & 1 else 0)
    return value


_TABLE = [_row(byte) for byte in range(256)]


def events_problem(content: bytes) -> str:
    """Return what is wrong with a file of curves; "" where nothing is.

    A last record that is not whole is what a kill leaves: readers stop before it.
    """
    at = number = 0
    while at + 12 <= len(content):
        number += 1
        head = content[at : at + 8]
        if masked_crc(head) != struct.unpack_from("<I", content, at + 8)[0]:
            return f"record {number}: its length does not match its checksum"
        (length,) = struct.unpack("<Q", head)
        end = at + 12 + length
        if end + 4 > len(content):
            break
        if masked_crc(content[at + 12 : end]) != struct.unpack_from("<I", content, end)[0]:
            return f"record {number}: its content does not match its checksum"
        at = end + 4
    return ""


def masked_crc(content: bytes) -> int:
    """Return the CRC-32C of bytes, rotated by 15 bits and shifted, as TFRecord files hold it."""
    crc = 0xFFFFFFFF
    for byte in content:
        crc = crc >> 8 ^ _TABLE[(crc ^ byte) & 0xFF]
    crc ^= 0xFFFFFFFF
    return ((crc >> 15 | crc << 17) + _MASK) & 0xFFFFFFFF
