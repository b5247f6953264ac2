"""The manifest: rows that never change, whoever writes and whenever it is killed."""

from __future__ import annotations

from pathlib import Path

import pytest
from avpipe.cache.manifest import Manifest, copy_path, default_shard_clips
from avpipe.cache.segment import Line, Root
from avpipe.errors import CacheCorruptError, Fault, Wrong

ROOTS = [Root(path="/videos", device=1)]


def lines(count: int, start: int = 0) -> list[Line]:
    return [
        Line(id=f"c{i}", root=0, path=f"c{i}.mp4", source=f"c{i}", bytes=i)
        for i in range(start, start + count)
    ]


def publish(cache: Path, count: int, start: int = 0, **options: int) -> Manifest:
    assert Manifest(cache).publish(lines(count, start), count, ROOTS, **options)
    return Manifest(cache)


@pytest.mark.parametrize(
    ("clips", "expected"),
    [(1, 16), (64 * 16, 16), (64 * 31, 16), (64 * 32, 32), (64 * 255, 128), (200_000, 256)],
)
def test_default_shard_clips(clips: int, expected: int) -> None:
    assert default_shard_clips(clips) == expected


def test_rows_and_shards_over_segments(tmp_path: Path) -> None:
    publish(tmp_path, 10, shard_clips=4)
    manifest = publish(tmp_path, 5, start=10, shard_clips=2)
    assert (manifest.num_rows, manifest.num_shards) == (15, 6)
    assert [manifest.shard_rows(k) for k in range(6)] == [
        range(4),
        range(4, 8),
        range(8, 10),
        range(10, 12),
        range(12, 14),
        range(14, 15),
    ]
    for row, line in manifest.lines():
        assert line["id"] == f"c{row}" and manifest.line(row) == line
        assert row in manifest.shard_rows(manifest.shard_of(row))
    assert [line["id"] for line in manifest.plan(2).lines] == ["c8", "c9"]
    assert manifest.plan(3).first_row == 10
    for bad in (manifest.line, manifest.shard_of, manifest.plan):
        with pytest.raises(IndexError):
            bad(15)


def test_first_writer_wins(tmp_path: Path) -> None:
    one, other = Manifest(tmp_path), Manifest(tmp_path)
    assert one.publish(lines(3), 3, ROOTS)
    assert not other.publish(lines(4), 4, ROOTS)
    assert Manifest(tmp_path).num_rows == 3


def test_names_that_are_not_utf8_survive(tmp_path: Path) -> None:
    odd = b"caf\xe9 \n\xf0\x9f\x98\x80.mp4".decode("utf-8", "surrogateescape")
    line = Line(id="x", root=0, path=odd, source="x", bytes=0)
    Manifest(tmp_path).publish([line], 1, ROOTS)
    assert Manifest(tmp_path).line(0) == line


def test_every_flipped_byte_is_found(tmp_path: Path) -> None:
    path = publish(tmp_path, 3).segments[0].path
    good = path.read_bytes()
    for position in range(len(good)):
        for bit in (1, 32):
            flipped = bytearray(good)
            flipped[position] ^= bit
            path.write_bytes(flipped)
            with pytest.raises(CacheCorruptError) as caught:
                Manifest(tmp_path)
            assert caught.value.fault == Fault(Wrong.DAMAGED, path)
    path.write_bytes(good)
    assert Manifest(tmp_path).num_rows == 3


@pytest.mark.parametrize("keep", [0, 1, 50, -1])
def test_torn_segment_is_found(tmp_path: Path, keep: int) -> None:
    path = publish(tmp_path, 3).segments[0].path
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(CacheCorruptError):
        Manifest(tmp_path)


def test_missing_segment_is_found(tmp_path: Path) -> None:
    publish(tmp_path, 3)
    manifest = publish(tmp_path, 3, start=3)
    manifest.segments[0].path.unlink()
    with pytest.raises(CacheCorruptError, match=r"0000\.jsonl is missing"):
        Manifest(tmp_path)


def test_copy_is_healed(tmp_path: Path) -> None:
    manifest = publish(tmp_path, 3)
    copy_path(manifest.segments[0].path).unlink()
    manifest.heal()
    assert (
        copy_path(manifest.segments[0].path).read_bytes() == manifest.segments[0].path.read_bytes()
    )


def test_shard_digest_depends_on_its_own_lines_alone(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    a = publish(tmp_path / "a", 8, shard_clips=4)
    b = publish(tmp_path / "b", 12, shard_clips=4)
    assert a.shard_sha256(1) == b.shard_sha256(1) != a.shard_sha256(0)


def test_superseded(tmp_path: Path) -> None:
    manifest = publish(tmp_path, 3)
    retry = manifest.line(1)
    retry["retry_of"], retry["was"] = 1, "timeout"
    manifest.publish([retry], 1, ROOTS, num_retries=1)
    assert Manifest(tmp_path).retries == {1: retry}
