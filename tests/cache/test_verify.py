"""`verify` names every damaged file; `--repair` and what it prints restore the same bytes."""

from __future__ import annotations

import errno
import shutil
from pathlib import Path

import numpy as np
import pytest
from avpipe.cache.manifest import Manifest, copy_path
from avpipe.cache.repair import Lost
from avpipe.cache.schema import AUDIO, EXTRACT, shard_path
from avpipe.cache.state import drop_stage, extracted_shards
from avpipe.cache.store import Cache
from avpipe.cache.verify import verify
from avpipe.errors import CacheCorruptError, InputError
from avpipe.pipeline.verified.caches import commands
from fake_clips import FakeDecoder, extract_all, file_bytes, make_cache, publish_manifest

IDS = [f"c{i:02d}" for i in range(10)]
FAILURES = {"c03": ["no_audio"], "c07": ["truncated"]}


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    for name in IDS:
        (tmp_path / f"{name}.mp4").write_bytes(b"x")
    return make_cache(tmp_path / "avcache", IDS, failures=FAILURES)


def flip(path: Path, bit: int) -> None:
    content = bytearray(path.read_bytes())
    content[bit // 8] ^= 1 << (bit % 8)
    path.write_bytes(content)


def test_sound_cache(cache: Path) -> None:
    report = verify(cache)
    assert report.ok and report.damaged == {}
    assert report.files == len(file_bytes(cache)) == 2 + 3 + 3
    assert report.bytes == sum(map(len, file_bytes(cache).values()))


def test_what_another_run_publishes_meanwhile_is_not_damaged(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read(folder: Path, files: list[Path] | None = None) -> Manifest:
        known = Manifest(folder, files)
        extract_all(folder, publish_manifest(folder, ["later"]), FakeDecoder(FAILURES))
        return known

    monkeypatch.setattr("avpipe.cache.verify.Manifest", read)
    report = verify(cache, repair=True)
    assert report.ok and report.damaged == {} and not (cache / "damaged").exists()
    monkeypatch.undo()
    assert verify(cache).ok and "later" in Cache(cache).ids


def test_no_cache(tmp_path: Path) -> None:
    with pytest.raises(InputError):
        verify(tmp_path)


@pytest.mark.parametrize("number_of_flips", [250, pytest.param(1000, marks=pytest.mark.slow)])
def test_bit_flips(number_of_flips: int, cache: Path) -> None:
    """Anywhere in any file: named by `verify`, refused by readers, mended to the same bytes."""
    good = file_bytes(cache)
    rng = np.random.default_rng(0)
    sizes = {name: 8 * len(content) for name, content in good.items()}
    names = list(sizes)
    for number in range(number_of_flips):
        name = names[number % len(names)]  # every file as often, headers as often as content
        limit = 8 * 4096 if number % 3 == 0 and name.endswith("h5") else sizes[name]
        flip(cache / name, int(rng.integers(limit)))
        report = verify(cache)
        assert list(report.damaged) == [name], number
        if name.startswith("manifest") and not name.endswith("copy"):
            with pytest.raises(CacheCorruptError):
                Cache(cache)
        elif name.startswith(EXTRACT):
            with pytest.raises(CacheCorruptError):
                opened = Cache(cache)
                for clip_id in opened.ids:
                    opened.clip(clip_id)
        if number % 50 == 0:
            repair_and_remake(cache)
            assert file_bytes(cache) == good
        else:
            (cache / name).write_bytes(good[name])


def repair_and_remake(cache: Path) -> None:
    report = verify(cache, repair=True)
    assert report.ok and report.repaired
    shutil.rmtree(cache / "damaged")
    manifest = Manifest(cache)
    todo = set(range(manifest.num_shards)) - extracted_shards(cache)
    assert bool(todo) == (commands(cache, report) == [f"avpipe extract --cache {cache}"])
    if todo:
        extract_all(cache, manifest, FakeDecoder(FAILURES))


def test_several_damaged_at_once(cache: Path) -> None:
    good = file_bytes(cache)
    for name in good:
        if not name.endswith(".copy"):
            flip(cache / name, 8 * 100)
    damaged = {name for name in good if not name.endswith(".copy")}
    assert set(verify(cache).damaged) == damaged
    report = verify(cache, repair=True)
    assert set(report.damaged) == damaged
    assert len(list((cache / "damaged").rglob("*.h5"))) == 6
    extract_all(cache, Manifest(cache), FakeDecoder(FAILURES))
    shutil.rmtree(cache / "damaged")
    assert file_bytes(cache) == good


def test_segment_and_copy_both_damaged(cache: Path) -> None:
    segment = Manifest(cache).segments[0].path
    flip(segment, 300)
    flip(copy_path(segment), 400)
    shards = sorted(cache.glob("*/*.h5"))
    report = verify(cache, repair=True)
    assert not report.ok and "no good copy" in report.lost[0].what
    assert sorted(cache.glob("*/*.h5")) == shards


def test_missing_copy_is_no_damage(cache: Path) -> None:
    copy_path(Manifest(cache).segments[0].path).unlink()
    assert verify(cache).ok


def test_missing_segment_comes_back(cache: Path) -> None:
    good = file_bytes(cache)
    Manifest(cache).segments[0].path.unlink()
    assert "manifest/0000.jsonl" in verify(cache).damaged
    assert verify(cache, repair=True).ok
    assert file_bytes(cache) == good


def test_source_that_is_gone(cache: Path) -> None:
    (cache.parent / "c05.mp4").unlink()
    flip(shard_path(cache, EXTRACT, 1), 80000)
    report = verify(cache, repair=True)
    assert not report.ok and report.lost == [Lost(str(cache.parent / "c05.mp4"))]


def test_what_may_not_be_read_is_not_damaged(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr("avpipe.cache.verify.check_content", refuse)
    with pytest.raises(PermissionError):
        verify(cache, repair=True)
    assert len(list(cache.glob("*/*.h5"))) == 6


def test_copy_that_differs_from_its_segment(cache: Path, tmp_path: Path) -> None:
    good = file_bytes(cache)
    other = make_cache(tmp_path / "other", ["x"])
    spare = copy_path(Manifest(cache).segments[0].path)
    shutil.copy(copy_path(Manifest(other).segments[0].path), spare)
    assert "manifest/0000.jsonl.copy" in verify(cache).damaged
    assert verify(cache, repair=True).ok
    shutil.rmtree(cache / "damaged")
    assert file_bytes(cache) == good


def test_shard_under_another_name(cache: Path) -> None:
    shutil.copy(shard_path(cache, EXTRACT, 0), shard_path(cache, EXTRACT, 1))
    assert "another name" in verify(cache).damaged["extract/0000001.h5"]


def test_shard_of_another_manifest(cache: Path, tmp_path: Path) -> None:
    other = make_cache(tmp_path / "other", [f"d{i:02d}" for i in range(10)])
    shutil.copy(shard_path(other, EXTRACT, 0), shard_path(cache, EXTRACT, 0))
    assert "another manifest" in verify(cache).damaged["extract/0000000.h5"]


def test_audio_not_made_together_with_its_extract(cache: Path, tmp_path: Path) -> None:
    other = make_cache(tmp_path / "other", IDS)  # the same clips, and none failed
    shutil.copy(shard_path(other, AUDIO, 0), shard_path(cache, AUDIO, 0))
    assert "not made together" in verify(cache).damaged["extract/0000000.h5"]


def test_dropped_audio_is_no_damage(cache: Path) -> None:
    drop_stage(cache, AUDIO)
    assert verify(cache).ok


NO_SEGMENTS = [
    "0000.jsonl.bak",
    "00000.jsonl",
    "0000.jsonl.copy.old",
    "1.jsonl",
    "\u0660" * 4 + ".jsonl",
]


@pytest.mark.parametrize("name", NO_SEGMENTS)
def test_files_of_others_beside_segments_are_left_alone(cache: Path, name: str) -> None:
    """`verify` said that 0001.jsonl is missing, and each `--repair` made `0000.jsonl.bak.copy`."""
    shutil.copy(cache / "manifest" / "0000.jsonl", cache / "manifest" / name)
    before = file_bytes(cache)
    report = verify(cache, repair=True)
    assert report.ok and report.damaged == {} and report.repaired == []
    assert file_bytes(cache) == before
    assert Cache(cache).ids == [one for one in IDS if one not in FAILURES]


def test_shards_with_other_digits_in_their_names_are_none(cache: Path) -> None:
    shutil.copy(shard_path(cache, EXTRACT, 0), cache / EXTRACT / ("\u0660" * 7 + ".h5"))
    assert verify(cache).damaged == {}
    assert Cache(cache).ids == [one for one in IDS if one not in FAILURES]


def test_temporary_files_are_no_damage(cache: Path) -> None:
    (cache / EXTRACT / ".0000003.h5.host.1.abcd").write_bytes(b"half")
    assert verify(cache).ok
