"""`Cache`: what it returns is what was written, by id and by row."""

from __future__ import annotations

import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
from avpipe.cache.manifest import Manifest
from avpipe.cache.schema import AUDIO, Header, shard_path
from avpipe.cache.state import drop_stage, require_manifest_of, stages
from avpipe.cache.store import Cache
from avpipe.cache.writer import Rows, write_shard
from avpipe.errors import CacheCorruptError, InputError
from avpipe.pipeline.fixes import shown
from avpipe.stages.exchange.items import Reader
from avpipe.stages.extract import ExtractTask, extract_shard
from avpipe.stages.features import FeatureParams
from avpipe.stages.neighbors.vectors import id_set
from avpipe.train.data.mixed import mixed_sound
from fake_clips import FakeDecoder, extract_all, make_cache, publish_manifest

IDS = [f"c{i:02d}" for i in range(10)]


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache(make_cache(tmp_path / "avcache", IDS, failures={"c03": ["no_audio"]}))


def test_done_clips(cache: Cache) -> None:
    assert len(cache) == 9
    assert cache.ids == [name for name in IDS if name != "c03"]
    assert cache.rows.tolist() == [0, 1, 2, 4, 5, 6, 7, 8, 9]


def test_clips_planned_since_it_was_opened_are_not_seen(cache: Cache) -> None:
    plan = publish_manifest(cache.path, ["d0", "d1"]).plan(3)
    decoder = FakeDecoder({"d1": ["no_audio"]})
    extract_shard(ExtractTask(cache.path, plan, FeatureParams(), {}), decoder)
    require_manifest_of(cache.path, cache.manifest)
    assert len(cache) == len(cache.ids) == 9
    assert [failure.id for failure in cache.failures()] == ["c03"]
    assert len(id_set(cache, None, ()).rows) == 9
    assert len(Cache(cache.path)) == 10


def test_clip_equals_what_was_decoded(cache: Cache) -> None:
    for name in cache.ids:
        row, clip = FakeDecoder().row({"id": name}), cache.clip(name)
        assert clip.id == name and clip.row == IDS.index(name) and clip.label == f"class {name[-1]}"
        assert clip.frame.shape == (*row["frame_hw"], 3) and clip.frame.dtype == np.uint8
        assert np.array_equal(clip.spectrogram_wide, row["spectrogram_wide"].astype(np.float32))
        assert np.array_equal(clip.spectrogram, clip.spectrogram_wide[:, 93:369])
        assert clip.waveform is not None and np.array_equal(clip.waveform, row["waveform"])
        assert (clip.frame_sample, clip.waveform_rate_hz) == (50, 32_000)
        assert (clip.valid_cols, clip.short) == (row["valid_cols"], row["short"])
        assert (clip.frame_pts_s, clip.duration_s, clip.silent) == (2.0, 4.0, False)


def test_sound_of_another_decode_pass_is_given_with_no_clip(cache: Cache, tmp_path: Path) -> None:
    """What a re-make leaves that was killed between its two files."""
    other = make_cache(tmp_path / "other", IDS)  # the same clips, and none failed
    new, old = (shard_path(path, AUDIO, 0) for path in (other, cache.path))
    kept = old.read_bytes()
    old.write_bytes(new.read_bytes())
    readers = (
        lambda found: found.clip("c00"),
        lambda found: found.column(f"{AUDIO}/waveform")[0],
        lambda found: mixed_sound(found, 0, 1),
        lambda found: list(Reader(found, {}).read([0])),
    )
    for read in readers:
        with pytest.raises(CacheCorruptError) as caught:
            read(Cache(cache.path))
        assert shown(caught.value) == (
            f"{old} and extract/{old.name} were not made together; run `avpipe extract --cache "
            f"{cache.path}`"
        )
    old.write_bytes(kept)
    opened = Cache(cache.path)
    opened.shard("extract", 0)
    for stage in ("extract", AUDIO):  # made again while a reader holds the old pictures open
        shard_path(cache.path, stage, 0).unlink()
        shutil.copy(shard_path(other, stage, 0), shard_path(cache.path, stage, 0))
    with pytest.raises(CacheCorruptError, match="not made together"):
        opened.clip("c00")
    assert Cache(cache.path).clip("c03").waveform is not None


def test_columns_by_row(cache: Cache) -> None:
    column = cache.column("extract/frame_jpeg")
    assert column[4].tobytes() == FakeDecoder().row({"id": "c04"})["frame_jpeg"]
    assert 4 in column and 3 not in column and 99 not in column
    for bad in (3, 99, -1):
        with pytest.raises(KeyError):
            column[bad]
    for name in ("hints/detr-r50", "extract", "extract/nothing", "nothing"):
        with pytest.raises(InputError):
            cache.column(name)


def test_failures(cache: Cache) -> None:
    assert cache.failures() == [("c03", "no_audio", "made to fail", 3)]
    with pytest.raises(KeyError, match="c03"):
        cache.clip("c03")


def test_retried_clip_takes_the_place_of_the_failed_one(cache: Cache) -> None:
    line = cache.manifest.line(3)
    line["retry_of"], line["was"], line["was_detail"] = 3, "no_audio", "made to fail"
    cache.manifest.publish([line], 1, cache.manifest.roots, num_retries=1)
    again = Cache(cache.path)
    assert again.failures() == [] and len(again) == 9
    extract_all(cache.path, again.manifest, FakeDecoder())
    assert Cache(cache.path).clip("c03").row == 10
    first = shard_path(cache.path, "extract", 0)
    before = first.read_bytes()
    extract_all(cache.path, again.manifest, FakeDecoder())  # c03 would be done there now
    assert first.read_bytes() == before
    assert Cache(cache.path).ids.count("c03") == 1


def test_audio_dropped(cache: Cache) -> None:
    size = sum(path.stat().st_size for path in (cache.path / AUDIO).glob("*.h5"))
    assert drop_stage(cache.path, AUDIO) == size
    clip = Cache(cache.path).clip("c00")
    assert clip.waveform is None and clip.frame_sample is None
    assert stages(cache.path) == ["extract", "audio"]
    with pytest.raises(InputError):
        drop_stage(cache.path, "extract")
    for name in ("hints/x", "extract/", "audio/", f"../{cache.path.name}/extract", ".", ""):
        with pytest.raises(InputError, match="has no stage"):
            drop_stage(cache.path, name)
    assert len(Cache(cache.path)) == 9


def test_goes_to_other_processes(cache: Cache) -> None:
    other = pickle.loads(pickle.dumps(cache))
    assert np.array_equal(other.clip("c05").frame, cache.clip("c05").frame)


def test_few_files_stay_open(cache: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("avpipe.cache.store._MAX_OPEN", 1)
    for name in cache.ids:
        cache.clip(name)
    assert len(cache._shards) == 1


def test_damage_is_told_not_returned(cache: Cache) -> None:
    path = shard_path(cache.path, "extract", 1)
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(CacheCorruptError, match="0000001"):
        Cache(cache.path).clip("c05")


def write_neighbors(cache: Path, name: str, similarity: float) -> None:
    rows = np.arange(4)
    header = Header(f"neighbors/{name}", 1, 0, {"k": 2}, {}, n=4, done=4)
    columns = {
        "row": Rows.array(rows),
        "rows": Rows.array(np.stack([(rows + 1) % 4, (rows + 2) % 4], 1).astype(np.int32)),
        "similarity": Rows.array(np.full((4, 2), similarity, np.float16)),
    }
    write_shard(shard_path(cache, header.stage, 0), header, columns)


def test_neighbors_by_short_name(cache: Cache) -> None:
    write_neighbors(cache.path, "image-a@11111111", 0.25)
    write_neighbors(cache.path, "image-ab@33333333", 0.75)
    assert cache.neighbors("image-a").stage == "neighbors/image-a@11111111"
    write_neighbors(cache.path, "image-a@00000000", 0.5)
    newest, older = cache.neighbors("image-a"), cache.neighbors("image-a@11111111")
    rows, similarity = newest[3]
    assert (rows.tolist(), similarity.tolist()) == ([0, 1], [0.5, 0.5])
    assert older[0][1].tolist() == [0.25, 0.25]
    assert 3 in newest and 4 not in newest
    with pytest.raises(InputError) as caught:
        cache.neighbors("audio-a")
    assert shown(caught.value).endswith(f"'audio-a'; run `avpipe knn --cache {cache.path}`")


def test_no_cache(tmp_path: Path) -> None:
    folder = tmp_path / "nothing"
    with pytest.raises(InputError) as caught:
        Cache(folder)
    assert (
        shown(caught.value) == f"{folder} is no cache; run `avpipe extract INPUT --cache {folder}`"
    )


def test_planned_but_not_extracted(tmp_path: Path) -> None:
    publish_manifest(tmp_path / "c", IDS)
    cache = Cache(tmp_path / "c")
    assert (len(cache), cache.ids, cache.failures()) == (0, [], [])
    assert Manifest(tmp_path / "c").num_rows == 10
