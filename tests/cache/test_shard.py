"""A shard: one layout for h5py and `os.pread`, complete or absent, never silently wrong."""

from __future__ import annotations

import errno
import os
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
from avpipe.cache import writer as writer_module
from avpipe.cache.schema import HEADER_BYTES, Header, parse_block
from avpipe.cache.shard import Shard, read_header
from avpipe.cache.writer import Rows, remove_orphans, temporary, write_shard
from avpipe.errors import CacheCorruptError, CacheUnwritableError, Reason, Wrong

HEADER = Header("extract", 1, 7, {"a": 1}, {"manifest": "x"}, n=3, done=2, failed={"missing": 1})


def columns() -> dict[str, Rows]:
    rng = np.random.default_rng(0)
    flat, offsets = Rows.ragged([rng.integers(0, 255, n).astype("u1") for n in (5, 0, 3)], "|u1")
    return {
        "row": Rows.array(np.array([4, 6], np.int64)),
        "value": Rows.stack([rng.normal(size=(3, 5)) for _ in range(2)], "<f2", (3, 5)),
        "frame_jpeg": flat,
        "frame_offset": offsets,
        "failed_reason": Rows.array(np.array(["missing"], "S16")),
        "nothing": Rows.array(np.zeros((0, 4), np.float32)),
    }


@pytest.fixture
def path(tmp_path: Path) -> Path:
    target = tmp_path / "extract" / "0000007.h5"
    write_shard(target, HEADER, columns())
    return target


def test_h5py_reads_what_pread_reads(path: Path) -> None:
    shard = Shard(path)
    with h5py.File(path) as file:
        assert set(file) == set(shard.header.columns)
        for name, column in shard.header.columns.items():
            assert np.array_equal(file[name][()], shard.column(name)), name
            assert file[name].dtype.str == column.dtype
            assert file[name].chunks is None and file[name].compression is None
            if column.nbytes:
                assert file[name].id.get_offset() == column.offset


def test_items_and_spans(path: Path) -> None:
    shard = Shard(path)
    value = columns()["value"].pieces
    assert np.array_equal(shard.item("value", 1), value[1])
    assert shard.span("frame_jpeg", 5, 8).tolist() == columns()["frame_jpeg"].pieces[2].tolist()
    for bad in (lambda: shard.item("value", 2), lambda: shard.span("frame_jpeg", 5, 9)):
        with pytest.raises(IndexError):
            bad()
    with pytest.raises(KeyError, match="no column 'frame'"):
        shard.column("frame")


def test_same_content_same_bytes(tmp_path: Path, path: Path) -> None:
    write_shard(tmp_path / "again.h5", HEADER, columns())
    assert (tmp_path / "again.h5").read_bytes() == path.read_bytes()


def test_every_flipped_bit_of_header_is_found(path: Path) -> None:
    block = path.read_bytes()[:HEADER_BYTES]
    size = path.stat().st_size
    parse_block(block, path, size)
    rng = np.random.default_rng(1)
    for bit in rng.choice(8 * HEADER_BYTES, 2000, replace=False):
        flipped = bytearray(block)
        flipped[bit // 8] ^= 1 << (bit % 8)
        with pytest.raises(CacheCorruptError):
            parse_block(bytes(flipped), path, size)


def test_flipped_content_is_found_once_per_process(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[HEADER_BYTES + 2000] ^= 1
    path.write_bytes(content)
    assert read_header(path).n == 3  # planning reads the header alone
    with pytest.raises(CacheCorruptError, match="does not match its sha256") as caught:
        Shard(path)
    assert caught.value.fault is not None and caught.value.fault.reason is Wrong.DAMAGED
    Shard(path, verify=False)


@pytest.mark.parametrize("size", [0, 100, HEADER_BYTES - 1, HEADER_BYTES + 10])
def test_cut_file(path: Path, size: int) -> None:
    os.truncate(path, size)
    with pytest.raises(CacheCorruptError):
        read_header(path)


def test_header_claims_are_checked_before_anything_is_read(path: Path) -> None:
    header = read_header(path)
    for column in (
        replace(header.columns["value"], shape=(1 << 60, 3)),
        replace(header.columns["value"], shape=(-1,)),
        replace(header.columns["value"], offset=0),
        replace(header.columns["value"], dtype="|O"),
    ):
        block = replace(header, columns={"value": column}).to_block()
        with pytest.raises(CacheCorruptError):
            parse_block(block, path, path.stat().st_size)


def test_largest_header_fits() -> None:
    failed = {str(reason): 10**9 for reason in Reason}
    header = replace(HEADER, n=2 + sum(failed.values()), failed=failed)
    columns = {f"a_long_column_name_{i}": read for i, read in enumerate([_column()] * 16)}
    params = {"decoder_version": "v" * 60, "spectrogram": "16k-257x1004", "audio_seconds": 10.0}
    full = replace(header, params=params, columns=columns, versions=dict.fromkeys("abcdef", "1.2"))
    assert len(full.to_block()) == HEADER_BYTES
    with pytest.raises(ValueError, match="takes"):
        replace(full, params={"p": "x" * HEADER_BYTES}).to_block()


def _column() -> object:
    from avpipe.cache.schema import Column

    return Column("<f2", (256, 257, 462), 10**12)


def test_rows_of_another_shape_are_refused() -> None:
    with pytest.raises(ValueError, match="expected"):
        Rows.stack([np.zeros((2, 2))], "<f2", (2, 3))


def test_a_column_that_is_not_as_long_as_it_says_is_refused(tmp_path: Path) -> None:
    column = Rows("<i4", (3,), (np.zeros(2, np.int32),))
    with pytest.raises(ValueError, match="value is not as long"):
        write_shard(tmp_path / "0000000.h5", HEADER, {"value": column})
    assert list(tmp_path.iterdir()) == []


def test_full_disk_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(writer_module.os, "posix_fallocate", full)
    with pytest.raises(CacheUnwritableError, match="No space left"):
        write_shard(tmp_path / "extract" / "0000000.h5", HEADER, columns())
    assert list((tmp_path / "extract").iterdir()) == []


def test_unwritable_folder_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "extract").write_text("a file, not a folder")
    with pytest.raises(CacheUnwritableError, match="same command again"):
        write_shard(tmp_path / "extract" / "0000000.h5", HEADER, columns())


def test_orphans_of_dead_processes_are_removed(tmp_path: Path) -> None:
    with temporary(tmp_path / "x.h5") as mine:
        mine.touch()
        gone = mine.with_name(mine.name.replace(f".{os.getpid()}.", ".4194304."))
        elsewhere = tmp_path / ".x.h5.other-host.1.abcd"
        gone.touch()
        elsewhere.touch()
        remove_orphans(tmp_path)
        assert mine.exists() and elsewhere.exists() and not gone.exists()


def test_orphan_of_a_process_nobody_has_waited_for_is_removed(tmp_path: Path) -> None:
    with temporary(tmp_path / "x.h5") as mine:
        process = subprocess.Popen([sys.executable, "-c", ""])
        orphan = mine.with_name(f".x.h5.{socket.gethostname()}.{process.pid}.0123abcd")
        orphan.touch()
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)  # ended, and still in the table
        remove_orphans(tmp_path)
        assert mine.exists() and not orphan.exists()
        process.wait()


def test_forked_reader_shares_no_position(path: Path) -> None:
    shard = Shard(path)
    expected = shard.item("value", 0)
    pid = os.fork()
    if pid == 0:
        os._exit(
            0 if all(np.array_equal(shard.item("value", 0), expected) for _ in range(200)) else 1
        )
    same = all(np.array_equal(shard.item("value", 0), expected) for _ in range(200))
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0 and same
