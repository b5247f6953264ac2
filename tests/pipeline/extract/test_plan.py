"""Planning: every clip gets one row for ever, and what is not done is found from headers alone."""

from __future__ import annotations

import errno
import os
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from asked_to_extract import settings_for
from avpipe.cache.manifest import Manifest, copy_path
from avpipe.cache.schema import AUDIO, EXTRACT, shard_path
from avpipe.cache.segment import Root, Segment
from avpipe.cache.state import drop_stage
from avpipe.cache.store import Cache
from avpipe.errors import CacheCorruptError, CacheUnwritableError, ClipError, InputError, Reason
from avpipe.pipeline.extract.candidate import Candidate
from avpipe.pipeline.extract.known import find_new
from avpipe.pipeline.extract.pieces import (
    DurationJournal,
    Probed,
    cut_into_pieces,
    num_pieces,
    probe,
)
from avpipe.pipeline.extract.plan import add_retries, add_segment, shards_to_do
from avpipe.pipeline.extract.run import ExtractSummary, extract
from avpipe.pipeline.extract.scan import scan
from avpipe.pipeline.extract.settings import ExtractSettings, IdFrom
from avpipe.pipeline.fixes import shown
from avpipe.pipeline.tally import count_clips, status
from avpipe.stages.extract import STAGE_VERSION, ExtractTask, extract_shard, header_params
from avpipe.stages.features import FeatureParams
from fake_clips import FakeDecoder, extract_all, make_cache

PARAMS = header_params(FeatureParams())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "videos").mkdir()
    return tmp_path / "videos"


def candidates(folder: Path, names: Sequence[str]) -> list[Candidate]:
    return [
        Candidate(id=Path(name).stem, root=str(folder), path=name, bytes=1, source=Path(name).stem)
        for name in names
    ]


def add(cache: Path, found: Sequence[Candidate], remap: dict[int, str] | None = None) -> int:
    return add_segment(cache, found, remap=remap or {}, cut=iter, shard_clips=2)


def ids(cache: Path) -> list[str]:
    return [line["id"] for _, line in Manifest(cache).lines()]


def test_same_files_are_planned_once(tmp_path: Path, folder: Path) -> None:
    cache = tmp_path / "cache"
    assert add(cache, candidates(folder, ["a.mp4", "b.mp4"])) == 2
    assert add(cache, candidates(folder, ["a.mp4", "b.mp4"])) == 0
    assert add(cache, candidates(folder, ["a.mp4", "b.mp4", "c.mp4"])) == 1
    assert ids(cache) == ["a", "b", "c"]
    assert len(Manifest(cache).segments) == 2


def test_second_file_of_an_id_is_rejected_the_first_stands(tmp_path: Path, folder: Path) -> None:
    cache = tmp_path / "cache"
    add(cache, candidates(folder, ["a.mp4", "a.webm"]))
    add(cache, candidates(folder, ["b.mp4", "z/a.mkv"]))
    lines = [line for _, line in Manifest(cache).lines()]
    assert [line.get("reject") for line in lines] == [None, "duplicate_id", None, "duplicate_id"]


def test_a_moved_root_is_the_same_root(tmp_path: Path, folder: Path) -> None:
    cache, elsewhere = tmp_path / "cache", tmp_path / "elsewhere"
    add(cache, candidates(folder, ["a.mp4"]))
    elsewhere.mkdir()
    assert add(cache, candidates(elsewhere, ["a.mp4"]), {0: str(elsewhere)}) == 0
    assert add(cache, candidates(elsewhere, ["b.mp4"]), {0: str(elsewhere)}) == 1
    manifest = Manifest(cache)
    assert [root["path"] for root in manifest.roots] == [str(folder)]


def test_a_renamed_folder_is_told_and_not_planned_as_duplicates(
    tmp_path: Path, folder: Path
) -> None:
    cache, elsewhere = tmp_path / "cache", tmp_path / "elsewhere"
    (folder / "a.mp4").touch()
    add(cache, candidates(folder, ["a.mp4"]))
    folder.rename(elsewhere)
    with pytest.raises(InputError, match=rf"which is gone: .* add --root 0={elsewhere}$"):
        add(cache, candidates(elsewhere, ["0.mp4", "a.mp4"]))
    assert add(cache, candidates(elsewhere, ["a.mp4"]), {0: str(elsewhere)}) == 0
    assert add(cache, candidates(elsewhere, ["0.mp4"])) == 1
    assert ids(cache) == ["a", "0"]


def test_a_missing_clip_that_is_found_elsewhere_takes_its_own_place(
    tmp_path: Path, folder: Path
) -> None:
    cache = tmp_path / "cache"
    absent = [replace(one, bytes=0) for one in candidates(folder, ["vids/a.mp4", "vids/b.mp4"])]
    assert add(cache, absent) == 2
    extract_all(cache, Manifest(cache), FakeDecoder({"a": ["missing"], "b": ["no_audio"]}))
    found = candidates(folder, ["videos/a.mp4", "videos/b.mp4", "z/a.mp4"])
    assert add(cache, found[:1]) == 1
    manifest = Manifest(cache)
    _, _, (row, line) = manifest.lines()
    assert (row, line["retry_of"], line["was"], line.get("reject")) == (2, 0, "missing", None)
    extract_shard(ExtractTask(cache, manifest.plan(1), FeatureParams(), {}), FakeDecoder())
    assert Cache(cache).ids == ["a"]
    assert [failure.row for failure in Cache(cache).failures()] == [1]
    assert Cache(cache).failures("missing") == []
    assert status(cache, None)["clips"]["total"] == 2
    assert add(cache, found[1:]) == 2
    lines = [line for _, line in Manifest(cache).lines()][3:]
    assert [line.get("reject") for line in lines] == ["duplicate_id"] * 2
    assert add(cache, found) == add(cache, absent) == 0


def test_roots_keep_their_numbers(tmp_path: Path, folder: Path) -> None:
    cache, other = tmp_path / "cache", tmp_path / "other"
    other.mkdir()
    add(cache, candidates(folder, ["a.mp4"]))
    add(cache, candidates(other, ["b.mp4"]))
    manifest = Manifest(cache)
    device = os.stat(folder).st_dev  # noqa: PTH116
    assert manifest.roots == [Root(path=str(p), device=device) for p in (folder, other)]
    assert [line["root"] for _, line in manifest.lines()] == [0, 1]


def test_a_root_whose_disk_does_not_answer_now_is_not_written_down(
    tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without its device nobody would notice later that the disk is gone."""
    cache, found = tmp_path / "cache", candidates(folder, ["a.mp4"])
    (folder / "a.mp4").touch()

    def refuse(*_: object) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO), str(folder))

    with monkeypatch.context() as patch:
        patch.setattr(os, "scandir", refuse)
        with pytest.raises(OSError, match="Input/output error"):
            add(cache, [replace(one, bytes=0) for one in found])
        assert not list(cache.rglob("*.jsonl"))
        assert add(cache, found) == 1  # a clip was seen there: the folder need not be listed
    device = os.stat(folder).st_dev  # noqa: PTH116
    assert Manifest(cache).roots == [Root(path=str(folder), device=device)]


def test_pieces_of_known_files_are_not_planned_again(tmp_path: Path, folder: Path) -> None:
    cache = tmp_path / "cache"
    whole = candidates(folder, ["a.mp4"])
    pieces = cut_into_pieces(replace(whole[0], bytes=1024), 25.0, 10.0)
    assert add(cache, pieces) == 3
    assert add(cache, whole) == 0
    news = find_new(Manifest(cache), [*pieces, replace(whole[0], start_s=1.5)], {})
    assert [found.start_s for found in news.candidates] == [1.5]


def test_planned_files_among_many(tmp_path: Path, folder: Path) -> None:
    """One walk along sorted segments finds what a set of all places would find."""
    cache, rng = tmp_path / "cache", random.Random(0)
    other = tmp_path / "other"
    other.mkdir()
    names = [f"{a}{b}\udce9.mp4" for a in "aäz/" for b in "0.-Zé"]
    every = [c for root in (folder, other) for c in candidates(root, names)]
    every.sort(key=lambda c: os.fsencode(c.path))
    known: set[tuple[str, str]] = set()
    for _ in range(4):
        found = [c for c in every if rng.random() < 0.4]
        expected = [c for c in found if (c.root, c.path) not in known]
        assert find_new(Manifest(cache), found, {}).candidates == expected
        known |= {(c.root, c.path) for c in found}
        add(cache, found)


@pytest.mark.parametrize(
    ("duration_s", "starts"),
    [
        (0.3, [0]),
        (9.0, [0]),
        (14.9, [0]),
        (15.0, [0, 10]),
        (30.0, [0, 10, 20]),
        (34.0, [0, 10, 20]),
    ],
)
def test_cut_into_pieces(folder: Path, duration_s: float, starts: list[float]) -> None:
    whole = replace(candidates(folder, ["a.mp4"])[0], bytes=1024)
    pieces = cut_into_pieces(whole, duration_s, 10.0)
    assert [piece.start_s for piece in pieces] == starts
    assert [piece.id for piece in pieces] == [f"a_{start * 1000:09d}" for start in starts]
    assert {(piece.source, piece.seconds) for piece in pieces} == {("a", 10.0)}


def test_unknown_duration_is_left_to_extraction(folder: Path) -> None:
    whole = candidates(folder, ["a.mp4"])[0]
    assert cut_into_pieces(whole, None, 10.0) == [whole]


def test_duration_journal_survives_a_kill(tmp_path: Path) -> None:
    journal = DurationJournal(tmp_path)
    journal.add([Probed("a\n\udce9", 1, 2.5), Probed("b", 2, None), Probed("e", 5, None, "oom")])
    assert journal.known == {("a\n\udce9", 1): 2.5, ("b", 2): None}
    path = tmp_path / "manifest" / "durations.journal"
    path.write_bytes(path.read_bytes() + b'\n["c", 3, 1')
    again = DurationJournal(tmp_path)
    assert again.known == {("a\n\udce9", 1): 2.5}
    again.add([Probed("d", 4, 1.0)])
    assert DurationJournal(tmp_path).known["d", 4] == 1.0
    again.remove()
    assert DurationJournal(tmp_path).known == {}


def test_a_journal_of_others_is_read_where_it_says_durations(tmp_path: Path) -> None:
    """Such values ended in internal errors, or in plans of a billion pieces."""
    path = tmp_path / "manifest" / "durations.journal"
    path.parent.mkdir()
    lines = [
        '["a", 1, 2]', '["b", 1, null]', '["c", 1, "abc"]', '["d", 1, NaN]', '["e", 1, 1e400]',
        '["f", 1, -1]', '["g", 1, true]', '["h", "1", 1]', "[[], 1, 1]", "7", "{}", '["i", 1]',
        f'["j", 1, {"9" * 5000}]', "[" * 100_000, "\udcff",
    ]  # fmt: skip
    path.write_bytes("\n".join(lines).encode("utf-8", "surrogateescape"))
    assert DurationJournal(tmp_path).known == {("a", 1): 2}
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(
        CacheUnwritableError, match=r"durations\.journal: not a regular file; remove"
    ):
        DurationJournal(tmp_path)


@pytest.mark.parametrize(
    ("duration_s", "num_bytes", "count"),
    [(3600.0, 1 << 20, 360), (1.0, 1, 1), (4.3e9, 50_000, 0), (4.3e9, 1 << 40, 0), (4.3e9, 0, 0),
     (3600.0, 0, 360), (3600.0, 360 * 256, 360), (3600.0, 360 * 256 - 1, 0), (1e308, 1, 0)],
)  # fmt: skip
def test_a_file_has_no_more_pieces_than_its_bytes_can_be(
    duration_s: float, num_bytes: int, count: int
) -> None:
    assert num_pieces(duration_s, 10.0, num_bytes) == count


class Lengths(FakeDecoder):
    """Tells lengths by a file's stem; a reason is one that it cannot be told for."""

    def __init__(self, **told: float | str) -> None:
        super().__init__()
        self.told = told

    def duration(self, path: str) -> float:
        told = self.told[Path(path).stem]
        if isinstance(told, str):
            raise ClipError(told)
        return told


@pytest.fixture
def lengths(monkeypatch: pytest.MonkeyPatch) -> Lengths:
    decoder = Lengths(film=30.0, other=20.0)
    for module in ("pieces", "run"):
        monkeypatch.setattr(f"avpipe.pipeline.extract.{module}.decoder_child", lambda *_: decoder)
    return decoder


def segments(tmp_path: Path, *names: str) -> ExtractSettings:
    for name in names:
        (tmp_path / "videos").mkdir(exist_ok=True)
        (tmp_path / "videos" / f"{name}.mp4").write_bytes(b"x" * 4096)
    place = str(tmp_path / "videos")
    return settings_for((place,), tmp_path / "cache", jobs=1, backend="sequential", segment_s=10.0)


@pytest.mark.parametrize("reason", ["timeout", "oom", "io_error", "crashed", "missing"])
def test_a_length_that_cannot_be_told_now_is_asked_for_by_the_next_run(
    reason: str, tmp_path: Path, lengths: Lengths
) -> None:
    """The film became one clip, and was known so for ever: its other hour was lost in silence."""
    settings = segments(tmp_path, "film", "other")
    lengths.told["film"] = reason
    done = extract(settings)
    assert isinstance(done, ExtractSummary)
    assert ids(settings.cache) == ["other_000000000", "other_000010000"]
    assert done.notices == [
        f"{tmp_path}/videos/film.mp4 is not planned, as the length cannot be read now ({reason}): "
        "the same command tries again"
    ]
    lengths.told["film"] = 30.0
    assert extract(settings).as_json()["planned"] == 3
    assert ids(settings.cache)[2:] == [f"film_{start:09d}" for start in (0, 10000, 20000)]


def test_a_run_of_which_no_length_can_be_told_plans_nothing(
    tmp_path: Path, lengths: Lengths
) -> None:
    settings = segments(tmp_path, "film")
    lengths.told["film"] = "timeout"
    assert extract(settings).as_json()["planned"] == 0
    assert list((settings.cache / "manifest").glob("*.jsonl*")) == []
    lengths.told["film"] = 30.0
    assert extract(settings).as_json()["planned"] == 3


def test_what_never_tells_its_length_fails_as_one_clip(tmp_path: Path, lengths: Lengths) -> None:
    settings = segments(tmp_path, "film", "other")
    lengths.told["film"] = "not_media"
    assert extract(settings).as_json()["notices"] == []
    assert ids(settings.cache) == ["film", "other_000000000", "other_000010000"]


def test_what_a_list_names_and_is_not_there_fails_as_one_clip(
    tmp_path: Path, lengths: Lengths
) -> None:
    settings = segments(tmp_path, "other")
    (tmp_path / "list.csv").write_text("path\nvideos/other.mp4\nvideos/film.mp4\na\0.mp4\n")
    lengths.told["film"] = "missing"
    extract(replace(settings, inputs=(str(tmp_path / "list.csv"),)))
    assert ids(settings.cache) == ["a\0", "film", "other_000000000", "other_000010000"]


@pytest.mark.parametrize("before", [None, b"half"])
def test_pieces_take_the_place_of_a_film_that_was_not_there(
    before: bytes | None, tmp_path: Path, lengths: Lengths
) -> None:
    """`--retry-failed` made one clip of it, and no run the others."""
    settings = segments(tmp_path, "other")
    (tmp_path / "list.csv").write_text("path\nvideos/other.mp4\nvideos/film.mp4\n")
    settings = replace(settings, inputs=(str(tmp_path / "list.csv"),))
    reason = "missing" if before is None else "truncated"
    lengths.told["film"], lengths.failures["film"] = reason, [reason]
    if before is not None:
        (tmp_path / "videos" / "film.mp4").write_bytes(before)
    assert extract(settings).as_json()["failed_by_reason"] == {reason: 1}
    segments(tmp_path, "film")
    lengths.told["film"] = 30.0
    done = extract(settings)
    assert isinstance(done, ExtractSummary)
    assert (done.planned, done.done, done.failed_total, done.notices) == (3, 3, 0, [])
    assert ids(settings.cache)[3:] == [f"film_{start:09d}" for start in (0, 10000, 20000)]
    for again in (settings, replace(settings, retry_failed="")):
        assert extract(again).as_json()["planned"] == 0


@pytest.mark.parametrize("is_known", [False, True])
def test_a_length_that_so_few_bytes_cannot_have_stops_nothing(
    is_known: bool, tmp_path: Path, lengths: Lengths
) -> None:
    """One wrong bit of a Matroska file of a second: 429,496,730 pieces, and no memory left."""
    settings = segments(tmp_path, "film", "other")
    lengths.told["film"] = float(1 << 32)
    if is_known:  # to the journal of a run that died of it
        DurationJournal(settings.cache).add(
            [Probed(str(tmp_path / "videos" / "film.mp4"), 4096, float(1 << 32))]
        )
    done = extract(settings)
    assert isinstance(done, ExtractSummary) and done.done == 3
    assert ids(settings.cache) == ["film", "other_000000000", "other_000010000"]
    assert done.notices == [
        f"{tmp_path}/videos/film.mp4 is not cut: so few bytes cannot last as long as they say"
    ]


def test_retries(tmp_path: Path) -> None:
    failures = {"b": ["timeout"], "c": ["no_audio"]}
    cache = make_cache(tmp_path / "cache", ["a", "b", "c"], failures=failures)
    assert add_retries(cache, "oom", shard_clips=4) == 0
    assert add_retries(cache, "timeout", shard_clips=4) == 1
    assert add_retries(cache, "timeout", shard_clips=4) == 0  # planned, not tried yet: no second
    manifest = Manifest(cache)
    line = manifest.line(3)
    assert (line["id"], line["retry_of"], line["was"]) == ("b", 1, "timeout")
    extract_all(cache, manifest, FakeDecoder({"c": ["no_audio"]}))
    assert [failure.id for failure in Cache(cache).failures()] == ["c"]
    assert add_retries(cache, "", shard_clips=4) == 1


def test_a_retried_failure_whose_shard_is_gone_hides_no_other(tmp_path: Path) -> None:
    failures = {"b": ["timeout"], "f": ["timeout"]}
    cache = make_cache(tmp_path / "cache", list("abcdef"), shard_clips=3, failures=failures)
    assert add_retries(cache, "timeout", shard_clips=3) == 2
    extract_all(cache, Manifest(cache), FakeDecoder({"f": ["timeout"]}))
    assert (count_clips(cache).done, count_clips(cache).failures) == (5, {"timeout": 1})
    for stage in ("extract", "audio"):
        shard_path(cache, stage, 0).unlink()
    counts = count_clips(cache)
    assert (counts.total, counts.done, counts.failures, counts.todo) == (6, 3, {"timeout": 1}, 2)
    for stage in ("extract", "audio"):
        shard_path(cache, stage, 1).unlink()
    counts = count_clips(cache)
    assert (counts.total, counts.done, counts.failures, counts.todo) == (6, 1, {"timeout": 1}, 4)


def test_shards_to_do(tmp_path: Path) -> None:
    cache = make_cache(tmp_path / "cache", [f"c{i}" for i in range(12)], shard_clips=2)
    manifest = Manifest(cache)
    assert shards_to_do(cache, manifest, PARAMS) == []
    shard_path(cache, EXTRACT, 1).unlink()
    shard_path(cache, AUDIO, 4).unlink()
    assert shards_to_do(cache, manifest, PARAMS) == [1, 4]
    assert shards_to_do(cache, manifest, PARAMS, part=(1, 2)) == [1]
    assert shards_to_do(cache, manifest, PARAMS, part=(0, 2)) == [4]
    drop_stage(cache, AUDIO)
    assert shards_to_do(cache, manifest, PARAMS) == [1]


def test_audio_of_another_pass_is_to_do(tmp_path: Path) -> None:
    names = ["a", "b"]
    cache = make_cache(tmp_path / "cache", names)
    other = make_cache(tmp_path / "other", names, failures={"a": ["no_audio"]})
    shard_path(other, AUDIO, 0).replace(shard_path(cache, AUDIO, 0))
    assert shards_to_do(cache, Manifest(cache), PARAMS) == [0]


def test_other_parameters_are_refused_by_name(tmp_path: Path) -> None:
    cache = make_cache(tmp_path / "cache", ["a", "b"])
    wanted = {**PARAMS, "audio_seconds": 4.0}
    with pytest.raises(CacheCorruptError, match=r"--audio-seconds 10\.0.*--overwrite"):
        shards_to_do(cache, Manifest(cache), wanted)
    assert shards_to_do(cache, Manifest(cache), wanted, overwrite=True) == [0]
    assert shards_to_do(cache, Manifest(cache), PARAMS, overwrite=True) == []


def test_other_decoder_version_names_the_one_to_install(tmp_path: Path) -> None:
    cache = make_cache(tmp_path / "cache", ["a", "b"])
    made_with = PARAMS["decoder_version"].split(",")[0].removeprefix("av ")
    with pytest.raises(CacheCorruptError, match=f"`pip install av=={made_with}`"):
        shards_to_do(cache, Manifest(cache), {**PARAMS, "decoder_version": "av 1.0, ffmpeg 2"})


def test_shards_of_an_older_stage_are_not_mixed_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = ["a", "b", "c"]
    cache = make_cache(tmp_path / "cache", names, shard_clips=2)
    monkeypatch.setattr("avpipe.stages.extract.STAGE_VERSION", 0)
    older = make_cache(tmp_path / "older", names, shard_clips=2)
    assert status(cache)["stages"][0]["mixed"] == {}
    for stage in (EXTRACT, AUDIO):
        shard_path(older, stage, 1).replace(shard_path(cache, stage, 1))
    assert status(cache)["stages"][0]["mixed"] == {"stage_version": ["0", str(STAGE_VERSION)]}
    with pytest.raises(CacheCorruptError, match=r"stage version 0, this run .*--overwrite"):
        shards_to_do(cache, Manifest(cache), PARAMS)
    assert shards_to_do(cache, Manifest(cache), PARAMS, overwrite=True) == [1]


def test_files_named_by_another_root_are_known(tmp_path: Path, folder: Path) -> None:
    cache = tmp_path / "cache"
    (folder / "sub").mkdir()
    (tmp_path / "link").symlink_to(folder)
    add(cache, candidates(folder, ["a.mp4", "sub/b.mp4"]))
    assert add(cache, candidates(folder / "sub", ["b.mp4"])) == 0
    assert add(cache, candidates(tmp_path / "link", ["a.mp4", "sub/b.mp4"])) == 0
    assert add(cache, candidates(tmp_path, ["other/c.mp4", "videos/a.mp4"])) == 1
    manifest = Manifest(cache)
    assert [line["path"] for _, line in manifest.lines()] == ["a.mp4", "sub/b.mp4", "other/c.mp4"]
    assert [root["path"] for root in manifest.roots] == [str(folder), str(tmp_path)]


@pytest.mark.parametrize("id_from", ["stem", "path"])
@pytest.mark.parametrize("first", [["videos/sub"], ["videos/sub", "videos"]])
def test_files_known_by_a_root_inside_stay_known(
    tmp_path: Path, folder: Path, first: list[str], id_from: IdFrom
) -> None:
    """Also where the root around it is known too."""
    cache = tmp_path / "cache"
    (folder / "sub").mkdir()
    for name in ("a.mp4", "sub/b.mp4", "sub/b.wav", "z.mp4"):
        (folder / name).write_bytes(b"x")
    (tmp_path / "list.csv").write_text("path,audio_path\nvideos/sub/b.mp4,videos/sub/b.wav\n")
    inputs = [[str(tmp_path / name) for name in first], [str(folder)]]
    inputs += [[*inputs[0], str(tmp_path / "list.csv")], [str(tmp_path)]]
    counts = [
        add_segment(
            cache,
            scan(names, id_from=id_from).candidates,
            remap={},
            cut=iter,
            shard_clips=2,
            id_from=id_from,
        )
        for names in inputs * 2
    ]
    assert sum(counts) == 4 and not any(counts[3:])
    assert all("reject" not in line or "audio_path" in line for _, line in Manifest(cache).lines())


def test_two_roots_that_moved_into_one_folder(tmp_path: Path, folder: Path) -> None:
    cache, other = tmp_path / "cache", tmp_path / "other"
    other.mkdir()
    add(cache, candidates(folder, ["a.mp4"]))
    add(cache, candidates(other, ["b.mp4"]))
    both = {number: str(tmp_path / "both") for number in (0, 1)}
    found = candidates(tmp_path / "both", ["a.mp4", "b.mp4", "c.mp4"])
    (tmp_path / "both").mkdir()
    assert [new.id for new in find_new(Manifest(cache), found, both).candidates] == ["c"]


def test_an_id_that_a_list_gives_is_not_lost(tmp_path: Path, folder: Path) -> None:
    cache = tmp_path / "cache"
    whole = candidates(folder, ["x.mp4"])
    named = [replace(whole[0], id=name) for name in ("clip-a", "clip-b")]
    assert add(cache, whole) == 1
    assert add(cache, named) == 2
    assert add(cache, [*whole, *named]) == 0
    assert ids(cache) == ["x", "clip-a", "clip-b"]
    large = [replace(clip, bytes=1024) for clip in named]
    pieces = [piece for clip in large for piece in cut_into_pieces(clip, 2.2, 1.1)]
    add(tmp_path / "cut", pieces)
    assert add(tmp_path / "cut", [*whole, *named]) == 0
    assert add(tmp_path / "cut", [replace(whole[0], id="clip-c")]) == 1


def test_lines_that_differ_in_more_than_the_file_are_new(tmp_path: Path, folder: Path) -> None:
    cache = tmp_path / "cache"
    one = replace(candidates(folder, ["a.mp4"])[0], start_s=0.0, seconds=2.0)
    other_end, other_sound = replace(one, seconds=3.0), replace(one, audio_path="b.wav")
    nameless = [replace(one, id=name, path="", reject=Reason.BAD_ID) for name in ("..", ".")]
    assert add(cache, [nameless[0], one]) == 2
    assert add(cache, [nameless[1], other_end, other_sound]) == 3
    assert add(cache, [*nameless, one, other_end, other_sound]) == 0


def test_lost_segment_is_not_given_again(tmp_path: Path, folder: Path) -> None:
    cache = make_cache(tmp_path / "cache", ["a", "b"])
    segment = Manifest(cache).segments[0].path
    segment.unlink()
    with pytest.raises(CacheCorruptError) as caught:
        add(cache, candidates(folder, ["c.mp4"]))
    assert shown(caught.value).endswith(f"missing; run `avpipe verify --repair --cache {cache}`")
    copy_path(segment).unlink()
    with pytest.raises(CacheCorruptError, match="the manifest ends before it"):
        shards_to_do(cache, Manifest(cache), PARAMS)


def test_shard_of_another_manifest_is_refused(tmp_path: Path) -> None:
    cache = make_cache(tmp_path / "cache", ["a", "b"])
    other = make_cache(tmp_path / "other", ["a", "c"])
    shard_path(other, EXTRACT, 0).replace(shard_path(cache, EXTRACT, 0))
    with pytest.raises(CacheCorruptError, match="another manifest"):
        shards_to_do(cache, Manifest(cache), PARAMS)


def test_a_duration_is_probed_again_where_that_may_help(monkeypatch: pytest.MonkeyPatch) -> None:
    class Child:
        def __init__(self, reasons: list[str]) -> None:
            self.reasons = reasons

        def duration(self, path: str) -> float:
            if self.reasons:
                raise ClipError(self.reasons.pop(0))
            return 4.0

    for reasons, found in [
        (["timeout"], (4.0, "")),
        (["timeout", "crashed"], (None, "crashed")),
        (["not_media"], (None, "")),
        (["missing", "missing"], (None, "missing")),
    ]:
        child = Child(reasons)
        monkeypatch.setattr("avpipe.pipeline.extract.pieces.decoder_child", lambda *_, c=child: c)
        assert probe([("a.mp4", 9)], FeatureParams(), 1.0) == [("a.mp4", 9, *found)]
        assert not child.reasons
    child.reasons = ["missing"]
    assert probe([("a.mp4", 0)], FeatureParams(), 1.0) == [("a.mp4", 0, None, "")]


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Count how often each manifest file is opened and hashed."""
    counted = Counter[str]()

    class Counted(Segment):
        def __init__(self, path: Path) -> None:
            counted[path.name] += 1
            super().__init__(path)

    monkeypatch.setattr("avpipe.cache.manifest.Segment", Counted)
    return counted


def test_a_run_reads_each_file_of_the_manifest_once(
    tmp_path: Path, reads: Counter[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it publishes itself is read once too, so that what is on the disk is what is done."""
    monkeypatch.setattr("avpipe.pipeline.extract.run.decoder_child", lambda *_: FakeDecoder())
    videos = tmp_path / "videos"
    videos.mkdir()
    settings = settings_for((str(videos),), tmp_path / "cache", jobs=1, backend="sequential")
    for number, name in enumerate(("a.mp4", "b.mp4")):
        (videos / name).write_bytes(b"x")
        reads.clear()
        assert extract(settings).as_json()["planned"] == 1
        assert reads == {f"{segment:04d}.jsonl": 1 for segment in range(number + 1)}
    reads.clear()
    assert extract(replace(settings, retry_failed="")).as_json()["planned"] == 0
    assert reads == {"0000.jsonl": 1, "0001.jsonl": 1}


def test_a_refreshed_manifest_is_the_manifest_of_now(
    tmp_path: Path, folder: Path, reads: Counter[str]
) -> None:
    cache = tmp_path / "cache"
    add(cache, candidates(folder, ["a.mp4", "b.mp4", "c.mp4"]))
    before = Manifest(cache)
    add(cache, candidates(folder, ["d.mp4"]))
    reads.clear()
    now = before.refreshed()
    assert reads == {"0001.jsonl": 1}
    assert (now.num_rows, now.num_shards) == (4, 3) and before.num_rows == 3
    assert list(now.lines()) == list(Manifest(cache).lines())
    copy_path(now.segments[0].path).unlink()
    now.segments[0].path.unlink()
    with pytest.raises(CacheCorruptError, match=r"0000\.jsonl is missing"):
        now.refreshed()
