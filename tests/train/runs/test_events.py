"""TensorBoard's files are checked record by record, without TensorBoard."""

from pathlib import Path

import numpy as np
import pytest
from avpipe.train.runs.board import open_board
from avpipe.train.runs.events import _MASK, events_problem, masked_crc


@pytest.mark.parametrize(
    ("content", "crc"),
    [  # RFC 3720, B.4
        (bytes(32), 0x8A9136AA),
        (b"\xff" * 32, 0x62A8AB43),
        (bytes(range(32)), 0x46DD794E),
        (b"123456789", 0xE3069283),
    ],
)
def test_the_checksum_is_that_of_the_rfc(content: bytes, crc: int) -> None:
    rotated = (masked_crc(content) - _MASK) & 0xFFFFFFFF
    assert (rotated >> 17 | rotated << 15) & 0xFFFFFFFF == crc


def test_every_flipped_bit_and_no_torn_end_is_damage(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard", reason="TensorBoard is not installed")
    board = open_board(tmp_path, 0, print)
    assert board
    board.add([{"step": 1, "epoch": 1, "loss": 0.5}, {"step": 2, "epoch": 1, "loss": 0.25}])
    (path,) = (tmp_path / "tensorboard").iterdir()
    content = path.read_bytes()
    assert events_problem(content) == ""
    for bit in np.random.default_rng(0).choice(8 * len(content), 400, False).tolist():
        flipped = bytearray(content)
        flipped[bit // 8] ^= 1 << bit % 8
        assert events_problem(bytes(flipped)), bit
    for length in range(len(content) - 20, len(content)):
        assert events_problem(content[:length]) == ""
