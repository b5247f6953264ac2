"""Much is lost and the rest goes on: damaged downloads, lost streams, time-outs, a full disk."""

from __future__ import annotations

import errno
import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from asked_to_extract import settings_for
from avpipe.cache.manifest import Manifest
from avpipe.cache.schema import AUDIO, EXTRACT, shard_path
from avpipe.cache.store import Cache
from avpipe.cache.verify import verify
from avpipe.errors import CacheUnwritableError, ClipsFailedError
from avpipe.pipeline.extract.run import ExtractSummary, extract
from avpipe.pipeline.extract.settings import ExtractSettings
from avpipe.stages import extract as stage
from fake_clips import FakeDecoder, file_bytes
from media_factory import write_clip


def run(settings: ExtractSettings, **changes: object) -> ExtractSummary:
    summary = extract(replace(settings, **changes))
    assert isinstance(summary, ExtractSummary)
    return summary


@pytest.fixture
def settings(tmp_path: Path) -> ExtractSettings:
    """Of a hundred clips, one a shard."""
    (tmp_path / "videos").mkdir()
    for number in range(100):
        (tmp_path / f"videos/c{number:02d}.mp4").write_bytes(b"x")
    named = (str(tmp_path / "videos"),)
    return settings_for(named, tmp_path / "cache", jobs=1, backend="sequential", shard_clips=1)


@pytest.fixture
def decoder(monkeypatch: pytest.MonkeyPatch) -> FakeDecoder:
    one = FakeDecoder()
    monkeypatch.setattr("avpipe.pipeline.extract.run.decoder_child", lambda *_: one)
    return one


def test_only_the_reason_named_is_tried_again_and_all_other_bytes_stay(
    settings: ExtractSettings, decoder: FakeDecoder
) -> None:
    """Three time-outs in a hundred clips, over the shards, beside failures of other reasons."""
    late, other = ["c05", "c47", "c98"], ["c06", "c46", "c99"]
    decoder.failures = {name: ["timeout"] for name in late} | {name: ["no_audio"] for name in other}
    few = replace(settings, shard_clips=16)
    assert run(few).failed_by_reason == {"timeout": 3, "no_audio": 3}
    before = file_bytes(few.cache)
    decoder.failures = {name: ["no_audio"] for name in other}
    decoder.calls.clear()
    again = run(few, inputs=(), retry_failed="timeout")
    assert (again.planned, again.done, again.failed) == (3, 3, 0)
    assert decoder.calls == late
    after = file_bytes(few.cache)
    assert {name: after[name] for name in before} == before
    assert sorted(failure.id for failure in Cache(few.cache).failures()) == other
    assert run(few, inputs=(), retry_failed="timeout").planned == 0


def test_after_a_full_disk_only_what_is_missing_is_made(
    settings: ExtractSettings, decoder: FakeDecoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, made = stage.write_shard, []

    def until_full(path: Path, header: Any, columns: Mapping[str, Any]) -> Any:
        if len(made) == 40:
            why = os.strerror(errno.ENOSPC)
            raise CacheUnwritableError(f"{path}: {why}; nothing is lost: make the cache writable")
        if header.stage == EXTRACT:
            made.append(path)
        return real(path, header, columns)

    monkeypatch.setattr(stage, "write_shard", until_full)
    with pytest.raises(CacheUnwritableError, match="No space left on device"):
        run(settings)
    held = file_bytes(settings.cache)
    assert len(made) == 40 and verify(settings.cache).ok
    monkeypatch.setattr(stage, "write_shard", real)
    decoder.calls.clear()
    again = run(settings)
    assert (again.planned, again.done, again.skipped) == (0, 60, 40)
    assert len(decoder.calls) == 60
    after = file_bytes(settings.cache)
    assert {name: after[name] for name in held} == held
    assert len(list((settings.cache / EXTRACT).glob("*.h5"))) == 100


def test_a_folder_of_damaged_downloads_fails_clip_by_clip_and_once(tmp_path: Path) -> None:
    """Of a damaged archive: whole, half, empty, zeroed and cut files; nothing is tried for ever."""
    folder = tmp_path / "videos"
    folder.mkdir()
    whole = write_clip(folder / "whole.mp4", seconds=2.0).read_bytes()
    first = write_clip(tmp_path / "f.mp4", seconds=2.0, output=("-movflags", "+faststart"))
    damaged = {
        "empty": (b"", "empty"),
        "half": (whole[: len(whole) // 2], "truncated"),
        "first_half": (first.read_bytes()[: first.stat().st_size * 2 // 5], "truncated"),
        "head": (whole[:32], "truncated"),
        "zeroed": (bytes(len(whole)), "not_media"),
        "page": (b"<!DOCTYPE html><title>429</title>", "not_media"),
    }
    for name, (content, _) in damaged.items():
        (folder / f"{name}.mp4").write_bytes(content)
    settings = settings_for((str(folder),), tmp_path / "cache", jobs=1, backend="sequential")
    assert (run(settings).done, len(damaged)) == (1, 6)
    found = Cache(settings.cache).failures()
    assert {one.id: one.reason for one in found} == {
        name: reason for name, (_, reason) in damaged.items()
    }
    assert all(one.detail for one in found)
    files = file_bytes(settings.cache)
    again = run(settings)
    again.raise_for_failures()
    assert (again.planned, again.done, again.failed, again.skipped) == (0, 0, 0, 7)
    assert file_bytes(settings.cache) == files
    assert run(settings, retry_failed="timeout").planned == 0
    with pytest.raises(ClipsFailedError):
        run(settings, retry_failed="").raise_for_failures()  # asked for, and once only
    assert run(settings).skipped == 7


def test_each_modality_has_its_reason(tmp_path: Path) -> None:
    folder = tmp_path / "videos"
    folder.mkdir()
    write_clip(folder / "both.mp4", seconds=2.0)
    write_clip(folder / "mute.mp4", seconds=2.0, audio=None)
    write_clip(folder / "dark.mp4", seconds=2.0, video=None)
    write_clip(folder / "breaks_off.mkv", seconds=30.0, fps=5, audio_seconds=2.0)
    settings = settings_for((str(folder),), tmp_path / "cache", jobs=1, backend="sequential")
    run(settings)
    cache = Cache(settings.cache)
    found = {one.id: (one.reason, one.detail) for one in cache.failures()}
    assert cache.ids == ["both"]
    assert found["mute"] == ("no_audio", "no audio stream")
    assert found["dark"] == ("no_video", "no video stream")
    assert found["breaks_off"][0] == "no_audio"
    assert shard_path(settings.cache, AUDIO, 0).exists() and Manifest(settings.cache).num_rows == 4
