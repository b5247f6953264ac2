"""`extract` end to end on synthetic clips: resume, new files, retries, parts, what stops it."""

from __future__ import annotations

import gc
import os
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from asked_to_extract import settings_for
from avpipe.cache.manifest import Manifest, ShardPlan
from avpipe.cache.schema import AUDIO, EXTRACT, Header, shard_path
from avpipe.cache.segment import Root
from avpipe.cache.shard import read_header
from avpipe.cache.state import drop_stage
from avpipe.cache.store import Cache
from avpipe.cache.verify import verify
from avpipe.cache.writer import write_shard
from avpipe.errors import (
    CacheCorruptError,
    CacheUnwritableError,
    ClipsFailedError,
    InputError,
    UsageError,
)
from avpipe.pipeline.extract.run import ExtractSummary, extract
from avpipe.pipeline.extract.settings import ExtractSettings
from avpipe.pipeline.progress import Progress
from avpipe.pipeline.tally import status
from avpipe.stages.media import decode_clip
from avpipe.stages.spectrogram import log_spectrogram, resample
from avpipe.stages.synth.run import synth
from fake_clips import file_bytes


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Thirteen synthetic clips."""
    return synth(tmp_path_factory.mktemp("world") / "w", clips=10, classes=4, seed=2).videos


@pytest.fixture
def videos(world: Path, tmp_path: Path) -> Path:
    """Six of them, and a broken one."""
    folder = tmp_path / "videos"
    folder.mkdir()
    for number, path in enumerate(sorted(world.iterdir())[:6]):
        shutil.copy(path, folder / f"clip{number}.mp4")
    (folder / "broken.mp4").write_bytes(b"")
    return folder


@pytest.fixture
def settings(videos: Path, tmp_path: Path) -> ExtractSettings:
    return settings_for(
        inputs=(str(videos),),
        cache=tmp_path / "cache",
        jobs=1,
        backend="sequential",
        shard_clips=2,
    )


def run(settings: ExtractSettings, **changes: object) -> ExtractSummary:
    summary = extract(replace(settings, **changes))
    assert isinstance(summary, ExtractSummary)
    return summary


def test_counts_and_resume(settings: ExtractSettings) -> None:
    first = run(settings)
    assert (first.planned, first.done, first.failed, first.skipped) == (7, 6, 1, 0)
    assert first.failed_by_reason == {"empty": 1}
    files = file_bytes(settings.cache)
    again = run(settings)
    assert (again.planned, again.done, again.failed, again.skipped) == (0, 0, 0, 7)
    assert again.failed_total == 1
    shard_path(settings.cache, EXTRACT, 1).unlink()
    assert run(settings, inputs=()).done == 2
    assert file_bytes(settings.cache) == files
    assert verify(settings.cache).ok


def test_progress_begins_with_what_is_done(
    settings: ExtractSettings,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    run(settings)
    shard_path(settings.cache, EXTRACT, 1).unlink()
    shard_path(settings.cache, EXTRACT, 2).unlink()
    monkeypatch.setattr("avpipe.pipeline.progress._LINE_EVERY_S", 0)
    monkeypatch.setattr(Progress, "_line_due", 0)
    run(settings)
    counts = [line.split()[1] for line in capsys.readouterr().err.splitlines()]
    assert counts == ["5/7", "7/7"]


def test_cached_clip_is_the_decoded_clip(settings: ExtractSettings, videos: Path) -> None:
    run(settings)
    cached = Cache(settings.cache).clip("clip3")
    clip = decode_clip(videos / "clip3.mp4")
    assert cached.frame.shape == clip.frame.shape
    assert np.abs(cached.frame.astype(int) - clip.frame).mean() < 3  # JPEG, quality 95
    assert (cached.frame_pts_s, cached.duration_s) == (clip.frame_pts_s, clip.duration_s)
    sound = resample(clip.waveform, clip.rate_hz, 22050, 66150)
    expected = log_spectrogram(sound)
    inner = np.s_[:, 5:-5]  # at the ends the cut clip has a resampler's edge, the cached one none
    assert np.abs(cached.spectrogram[inner] - expected[inner]).mean() < 0.05


def test_new_files_become_new_rows(settings: ExtractSettings, world: Path, videos: Path) -> None:
    run(settings)
    before = file_bytes(settings.cache)
    shutil.copy(sorted(world.iterdir())[7], videos / "aaa.mp4")  # sorts before all others
    assert (run(settings).planned, len(Manifest(settings.cache).segments)) == (1, 2)
    after = file_bytes(settings.cache)
    assert {name: after[name] for name in before} == before
    assert Cache(settings.cache).row_of("aaa") == 7


def test_mended_file_is_retried(settings: ExtractSettings, world: Path, videos: Path) -> None:
    run(settings)
    shutil.copy(sorted(world.iterdir())[7], videos / "broken.mp4")
    assert run(settings).done == 0
    assert run(settings, retry_failed="timeout").planned == 0
    assert run(settings, retry_failed="empty").done == 1
    assert Cache(settings.cache).failures() == []
    assert status(settings.cache)["clips"] == {"total": 7, "done": 7, "failed": 0, "todo": 0}


def test_parts_make_the_same_cache(settings: ExtractSettings, tmp_path: Path) -> None:
    run(settings)
    parts = replace(settings, cache=tmp_path / "parts")
    assert run(parts, part=(1, 2)).done == 3
    assert run(parts, part=(0, 2)).done == 3
    assert file_bytes(parts.cache) == file_bytes(settings.cache)


def test_backends_and_jobs_make_the_same_cache(settings: ExtractSettings, tmp_path: Path) -> None:
    run(settings)
    loky = replace(settings, cache=tmp_path / "loky", backend="loky", jobs=2)
    run(loky)
    assert file_bytes(loky.cache) == file_bytes(settings.cache)


def test_segments(settings: ExtractSettings, videos: Path) -> None:
    summary = run(settings, segment_s=1.5)
    assert (summary.planned, summary.done) == (6 * 3 + 1, 18)
    cache = Cache(settings.cache)
    assert [i for i in cache.ids if i.startswith("clip0")] == [
        f"clip0_{start:09d}" for start in (0, 1500, 3000)
    ]
    clip = cache.clip("clip2_000001500")
    assert abs(clip.frame_pts_s - 2.25) <= 1 / 15 and clip.short
    assert {line["source"] for _, line in cache.manifest.lines()} == {
        path.stem for path in videos.iterdir()
    }
    assert run(settings, segment_s=1.5).planned == 0
    assert not (settings.cache / "manifest" / "durations.journal").exists()


def test_dropped_audio_stays_dropped_until_overwritten(settings: ExtractSettings) -> None:
    run(settings)
    files = file_bytes(settings.cache)
    drop_stage(settings.cache, AUDIO)
    assert run(settings).done == 0
    assert run(settings, overwrite=True).done == 6
    assert file_bytes(settings.cache) == files


@pytest.mark.parametrize("what", ["one", "all"])
def test_what_was_done_is_not_replaced_by_failures(
    settings: ExtractSettings, videos: Path, what: str
) -> None:
    run(settings)
    for number in range(4) if what == "all" else [1]:
        shard_path(settings.cache, AUDIO, number).unlink()
    (videos / "clip2.mp4").unlink()
    held = file_bytes(settings.cache / EXTRACT)
    with pytest.raises(InputError, match=rf"{videos}/clip2.mp4 was .*missing.*`avpipe drop audio"):
        run(settings, inputs=())
    assert file_bytes(settings.cache / EXTRACT) == held
    drop_stage(settings.cache, AUDIO)
    assert run(settings, inputs=()).skipped == 7
    assert Cache(settings.cache).clip("clip2").waveform is None


def test_other_parameters(settings: ExtractSettings) -> None:
    run(settings)
    with pytest.raises(CacheCorruptError, match="257x300: give --spectrogram 257x276"):
        run(settings, spectrogram="257x300")
    assert run(settings, spectrogram="257x300", overwrite=True).done == 6
    assert Cache(settings.cache).clip("clip0").spectrogram.shape == (257, 300)


def test_dry_run_writes_nothing(settings: ExtractSettings, videos: Path) -> None:
    estimate = extract(replace(settings, dry_run=True)).as_json()
    assert not settings.cache.exists()
    assert (estimate["new"], estimate["pending"], estimate["sample_failed"]) == (7, 0, 1)
    assert estimate["bytes_in"] == sum(path.stat().st_size for path in videos.iterdir())
    run(settings)
    written = sum(map(len, file_bytes(settings.cache).values()))
    assert 0.8 < estimate["bytes_out"] / written < 1.2
    assert extract(replace(settings, dry_run=True)).as_json()["new"] == 0


def test_dry_run_counts_what_the_run_would_do(settings: ExtractSettings, videos: Path) -> None:
    run(settings, part=(0, 2))
    whole = extract(replace(settings, dry_run=True, retry_failed="")).as_json()
    assert (whole["new"], whole["pending"]) == (1, 3)
    part = extract(replace(settings, dry_run=True, inputs=(), part=(1, 2))).as_json()
    assert (part["new"], part["pending"], part["sample_failed"]) == (0, 3, 0)


def test_dry_run_of_a_part_counts_its_own_files(settings: ExtractSettings, videos: Path) -> None:
    """Seven files in shards of two: the first part has shards 0 and 2, the second 1 and 3."""
    sizes = [path.stat().st_size for path in sorted(videos.iterdir())]
    parts = [extract(replace(settings, dry_run=True, part=(i, 2))).as_json() for i in range(2)]
    assert [part["new"] for part in parts] == [4, 3]
    assert parts[0]["bytes_in"] == sizes[0] + sizes[1] + sizes[4] + sizes[5]
    assert parts[1]["bytes_in"] == sizes[2] + sizes[3] + sizes[6]
    assert 0.5 < parts[0]["bytes_out"] / parts[1]["bytes_out"] < 2
    done = run(settings, part=(0, 2))
    assert done.done + done.failed == parts[0]["new"]
    parts = [extract(replace(settings, dry_run=True, part=(i, 2))).as_json() for i in range(2)]
    assert [(part["new"], part["pending"]) for part in parts] == [(0, 0), (0, 3)]
    assert [part["bytes_in"] for part in parts] == [0, sizes[2] + sizes[3] + sizes[6]]


def test_skipped_counts_what_was_finished_before(settings: ExtractSettings, videos: Path) -> None:
    stopped = run(settings, max_failures="0")
    assert (stopped.done, stopped.failed, stopped.skipped) == (1, 1, 0)
    run(settings)
    retried = run(settings, retry_failed="")
    assert (retried.done, retried.failed, retried.skipped) == (0, 1, 6)


def test_audio_of_new_clips_is_not_kept_once_dropped(
    settings: ExtractSettings, world: Path, videos: Path
) -> None:
    run(settings)
    drop_stage(settings.cache, AUDIO)
    shutil.copy(sorted(world.iterdir())[7], videos / "new.mp4")
    assert run(settings).done == 1
    assert not list((settings.cache / AUDIO).glob("*.h5"))
    assert drop_stage(settings.cache, AUDIO) == 0
    with pytest.raises(InputError):
        run(settings, inputs=("nowhere",), overwrite=True)
    assert status(settings.cache)["stages"][1]["dropped"]


def test_a_kill_leaves_no_audio_of_a_cache_that_keeps_none(
    settings: ExtractSettings, videos: Path, world: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(settings)
    drop_stage(settings.cache, AUDIO)
    shutil.copy(sorted(world.iterdir())[7], videos / "new.mp4")
    sounds: list[Path] = []

    def write(path: Path, *what: Any) -> Header:
        if path.parent.name == EXTRACT:  # done as soon as it is there
            sounds.extend((settings.cache / AUDIO).glob("*.h5"))
        return write_shard(path, *what)

    monkeypatch.setattr("avpipe.stages.extract.write_shard", write)
    assert run(settings).done == 1
    assert sounds == []


def test_mixed_parameters_are_shown(settings: ExtractSettings) -> None:
    run(settings)
    run(settings, spectrogram="257x300", overwrite=True, part=(0, 2))
    assert status(settings.cache)["stages"][0]["mixed"] == {"spectrogram": ["257x276", "257x300"]}


def test_root_that_the_cache_does_not_have(settings: ExtractSettings, tmp_path: Path) -> None:
    """On a new cache the clips were published before it was refused: rows are for ever."""
    for options in ({"dry_run": True}, {"retry_failed": ""}, {}):
        with pytest.raises(UsageError, match=r"--root 7=\.\.\.: .* has root 0 alone"):
            extract(replace(settings, root_map={7: tmp_path}, **options))
        assert file_bytes(settings.cache) == {}
    run(settings, part=(0, 2), root_map={0: settings.inputs[0]})
    before = file_bytes(settings.cache)
    for options in ({}, {"inputs": ()}, {"inputs": (), "dry_run": True}):
        with pytest.raises(UsageError, match="has root 0 alone"):
            extract(replace(settings, root_map={1: tmp_path}, **options))
    assert file_bytes(settings.cache) == before


def test_failures_that_were_retried_are_not_counted_again(
    settings: ExtractSettings, world: Path, videos: Path
) -> None:
    run(settings)
    shutil.copy(sorted(world.iterdir())[7], videos / "broken.mp4")
    run(settings, retry_failed="empty")
    assert run(settings).skipped == 7
    again = run(settings, overwrite=True, audio_seconds=5.0, max_failures="0")
    again.raise_for_failures()
    assert (again.done, again.failed, again.failed_by_reason) == (7, 0, {})
    (videos / "broken.mp4").write_bytes(b"no video any more")
    mixed = run(settings, overwrite=True)
    assert (mixed.done, mixed.failed_by_reason) == (6, {"not_media": 1})


def test_retries_are_planned_for_all_parts_at_once(settings: ExtractSettings) -> None:
    with pytest.raises(UsageError, match="without --part"):
        run(settings, retry_failed="", part=(0, 2))


def test_all_failed(settings: ExtractSettings, videos: Path) -> None:
    for path in videos.iterdir():
        path.write_bytes(b"")
    with pytest.raises(ClipsFailedError, match=r"every clip of this run failed \(7 empty\)"):
        run(settings).raise_for_failures()
    again = run(settings)
    again.raise_for_failures()  # all was done already: no error
    assert again.skipped == 7


@pytest.mark.parametrize("limit", ["0", "5%"])
def test_max_failures_stops_the_run(settings: ExtractSettings, limit: str) -> None:
    with pytest.raises(ClipsFailedError, match="--max-failures"):
        run(settings, max_failures=limit).raise_for_failures()
    assert run(settings).done == 6 - 1  # the first shard holds the broken clip and one good one


def test_unmounted_source_stops_the_run(settings: ExtractSettings, videos: Path) -> None:
    run(settings, part=(0, 2))
    videos.rename(videos.with_name("elsewhere"))
    with pytest.raises(InputError, match=r"is the disk mounted\?.*--root 0=DIR"):
        run(settings, inputs=())
    videos.mkdir()
    with pytest.raises(InputError, match="is empty: is the disk mounted"):
        run(settings, inputs=())
    assert status(settings.cache)["clips"]["failed"] == 1
    moved = {0: videos.with_name("elsewhere")}
    assert run(settings, inputs=(), root_map=moved).done == 3


@pytest.mark.parametrize("kind", ["absent", "empty", "a file"])
def test_list_that_names_a_folder_where_nothing_is(
    settings: ExtractSettings, videos: Path, tmp_path: Path, world: Path, kind: str
) -> None:
    other = tmp_path / "other"
    if kind == "empty":
        other.mkdir()
    elif kind == "a file":
        other.write_text("no folder")
    listed = tmp_path / "lists" / "clips.txt"
    listed.parent.mkdir()
    listed.write_text(f"{videos}/clip0.mp4\n{other}/x.mp4\n")
    named = replace(settings, inputs=(str(listed),))
    assert extract(replace(named, dry_run=True)).as_json()["new"] == 2
    summary = run(named)
    assert (summary.done, summary.failed_by_reason) == (1, {"missing": 1})
    assert run(named).skipped == 2
    if kind == "a file":
        other.unlink()
    other.mkdir(exist_ok=True)
    shutil.copy(sorted(world.iterdir())[7], other / "x.mp4")
    assert run(named, retry_failed="missing").done == 1
    shard_path(settings.cache, EXTRACT, Manifest(settings.cache).num_shards - 1).unlink()
    (other / "x.mp4").unlink()  # it was found there: now the folder counts
    with pytest.raises(InputError, match="other is empty: is the disk mounted"):
        run(settings, inputs=())


def test_root_with_another_number_of_its_device(
    settings: ExtractSettings, videos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another machine of a shared folder numbers devices otherwise."""
    real = Manifest.plan

    def plan(self: Manifest, shard: int) -> ShardPlan:
        found = real(self, shard)
        roots = tuple(Root(path=root["path"], device=root["device"] + 1) for root in found.roots)
        return replace(found, roots=roots)

    monkeypatch.setattr(Manifest, "plan", plan)
    run(settings, part=(0, 2))
    (videos / "clip1.mp4").unlink()
    assert run(settings, inputs=()).failed_by_reason == {"missing": 1}
    shard_path(settings.cache, EXTRACT, 3).unlink()
    for path in videos.iterdir():
        path.unlink()
    with pytest.raises(InputError, match="is empty and lies on another device"):
        run(settings, inputs=())


def test_one_missing_clip_is_that_clips_failure(settings: ExtractSettings, videos: Path) -> None:
    run(settings, part=(0, 2))
    (videos / "clip1.mp4").unlink()
    assert run(settings, inputs=()).failed_by_reason == {"missing": 1}


def test_nothing_to_do(settings: ExtractSettings) -> None:
    with pytest.raises(InputError, match="is empty: name a folder"):
        run(settings, inputs=())
    with pytest.raises(InputError, match="nowhere"):
        run(settings, inputs=("nowhere",))
    assert not settings.cache.exists()


def test_cache_that_is_a_file(settings: ExtractSettings) -> None:
    settings.cache.write_text("not a folder")
    with pytest.raises(CacheUnwritableError):
        run(settings)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs the right to mount a small file system")
def test_full_disk(settings: ExtractSettings, tmp_path: Path) -> None:
    """On a real full file system: exit 7, nothing half done, and the same command finishes."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", disk]
    if subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("mounting is not allowed here")
    try:
        small = replace(settings, cache=disk / "cache")
        with pytest.raises(CacheUnwritableError, match="No space left on device"):
            run(small)
        assert verify(small.cache).ok and not list(small.cache.rglob(".*.h5.*"))
        published = list(small.cache.glob("extract/*.h5"))
        assert published  # some shards fitted
        subprocess.run(["mount", "-o", "remount,size=30m", disk], check=True)
        run(small)
        run(settings)
        assert file_bytes(small.cache) == file_bytes(settings.cache)
    finally:
        gc.collect()  # a mapped manifest keeps the file system busy
        subprocess.run(["umount", disk], check=True)


def test_status(settings: ExtractSettings, tmp_path: Path) -> None:
    run(settings, part=(0, 2))
    document = status(settings.cache)
    assert document["clips"] == {"total": 7, "done": 3, "failed": 1, "todo": 3}
    assert document["failures"] == {"empty": 1}
    extracted, audio = document["stages"]
    assert (extracted["name"], extracted["done"], extracted["stale"]) == ("extract", 3, 0)
    assert (audio["name"], audio["done"], audio["missing"]) == ("audio", 3, 0)
    assert extracted["bytes"] == sum(
        path.stat().st_size for path in (settings.cache / "extract").glob("*.h5")
    )
    assert extracted["params"] == read_header(shard_path(settings.cache, EXTRACT, 0)).params
    shard_path(settings.cache, AUDIO, 2).unlink()
    assert status(settings.cache)["stages"][1]["missing"] == 2
    listed = tmp_path / "list.txt"
    listed.write_text("clip0\nclip1\nbroken\nclip5\nnobody\n")
    coverage = status(settings.cache, listed)["ids"]
    assert (coverage["listed"], coverage["done"], coverage["failed"]) == (5, 1, {"empty": 1})
    assert (coverage["todo"], coverage["absent"], coverage["first_absent"]) == (2, 1, ["nobody"])
