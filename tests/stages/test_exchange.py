"""Exports of a cache, read back by the libraries of their formats, and by an example."""

import csv
import gc
import io
import json
import runpy
import shlex
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from avpipe.cache.store import Cache
from avpipe.errors import CacheUnwritableError, MissingDependencyError, UsageError
from avpipe.pipeline.main import main
from avpipe.stages.exchange import run as stage
from avpipe.stages.exchange.run import export_cache
from avpipe.stages.exchange.webdataset import key_of
from cache_factory import add_inputs, make_cache

EXAMPLE = Path(__file__).parents[2] / "docs/examples/read_export.py"
IDS = ["a.b c=1x000", "dé%001", *[f"clip{number:03d}" for number in range(2, 10)]]


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Cache:
    """Ten clips in shards of four, hints of all, ids that are no file names."""
    cache = make_cache(tmp_path_factory.mktemp("exchange") / "avcache", 10, shard_clips=4, ids=IDS)
    add_inputs(cache)
    return cache


def hint_of(cache: Cache, clip_id: str) -> Any:
    return cache.column("hints/detr-r50")[cache.row_of(clip_id)]


@pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")  # by webdataset 1.0.2
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_webdataset_reads_what_the_cache_holds(cache: Cache, tmp_path: Path) -> None:
    webdataset = pytest.importorskip("webdataset", reason="reads the export back: not installed")
    done = export_cache(cache, tmp_path / "out", "webdataset", workers=3)
    assert (done.files, done.clips, done.done, done.skipped) == (3, 10, 10, 0)
    files = sorted(map(str, (tmp_path / "out").glob("clips-*.tar")))
    found = list(webdataset.WebDataset(files, shardshuffle=False, empty_check=False).decode("rgb8"))
    assert [one["json"]["id"] for one in found] == cache.ids == IDS
    for one in found:
        clip = cache.clip(one["json"]["id"])
        assert one["__key__"] == key_of(clip.id) and "." not in one["__key__"]
        np.testing.assert_array_equal(one["jpg"], clip.frame)
        np.testing.assert_array_equal(one["hints-detr-r50.npy"], hint_of(cache, clip.id))
        assert one["hints-detr-r50.npy"].dtype == np.float16
        assert one["json"]["label"] == clip.label and one["json"]["duration_s"] == clip.duration_s
        sound = np.frombuffer(one["wav"][44:], "<i2")
        np.testing.assert_array_equal(sound, clip.waveform)
    gc.collect()  # what it left open is closed here, and troubles no other test


def test_pyarrow_reads_what_the_cache_holds(cache: Cache, tmp_path: Path) -> None:
    dataset = pytest.importorskip(
        "pyarrow.dataset", reason="writes and reads Parquet: not installed"
    )
    done = export_cache(cache, tmp_path / "out", "parquet", columns=["hints/detr-r50"], workers=2)
    assert (done.files, done.done) == (2, 10)
    table = dataset.dataset(sorted(map(str, (tmp_path / "out").glob("clips-*.parquet")))).to_table()
    field = table.schema.field("hints/detr-r50")
    shape = json.loads(field.metadata[b"shape"])
    assert table.schema.field("sound").metadata[b"rate_hz"] == b"32000"
    assert table["id"].to_pylist() == IDS
    for row in table.to_pylist():
        clip = cache.clip(row["id"])
        hint = np.array(row["hints/detr-r50"]).reshape(shape)
        np.testing.assert_array_equal(hint, hint_of(cache, clip.id))
        np.testing.assert_array_equal(row["sound"], clip.waveform)
        assert row["frame_jpeg"] == cache.column("extract/frame_jpeg")[clip.row].tobytes()
        assert (row["label"], row["short"]) == (clip.label, clip.short)
    clips = dataset.dataset(str(tmp_path / "out/clips.parquet")).to_table().to_pylist()
    assert [(one["id"], one["state"]) for one in clips] == [(name, "done") for name in IDS]


@pytest.mark.parametrize("name", ["webdataset", "parquet"])
def test_the_example_reads_it_without_avpipe(
    name: str, cache: Cache, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if name == "parquet":
        pytest.importorskip("pyarrow", reason="writes and reads Parquet: not installed")
    assert "avpipe." not in EXAMPLE.read_text().partition('"""\n')[2]
    export_cache(cache, tmp_path / "out", name, workers=2)
    example = runpy.run_path(str(EXAMPLE))
    read = example["from_tar" if name == "webdataset" else "from_parquet"]
    found = [clip for path in sorted((tmp_path / "out").glob("clips-*")) for clip in read(path)]
    assert [clip[0] for clip in found] == IDS
    for clip_id, frame, sound, more in found:
        clip = cache.clip(clip_id)
        np.testing.assert_array_equal(frame, clip.frame)
        np.testing.assert_array_equal(sound, clip.waveform)
        (hint,) = (value for column, value in more.items() if "detr" in column)
        np.testing.assert_array_equal(hint, hint_of(cache, clip_id))
    example["main"](tmp_path / "out")
    assert "clip009: frame (64," in capsys.readouterr().out


def test_a_list_and_columns_that_some_clips_lack(cache: Cache, tmp_path: Path) -> None:
    partly = tmp_path / "partly"
    shutil.copytree(cache.path, partly)
    (partly / "hints/detr-r50/0000001.h5").unlink()
    ids = [*IDS[3:6], "gone"]
    done = export_cache(Cache(partly), tmp_path / "out", "webdataset", ids=ids, workers=8,
                        columns=["hints/detr-r50"])  # fmt: skip
    assert done.notices == (
        "1 of 4 listed ids are not in the cache, gone first",
        "hints/detr-r50 has 1 of the 3 clips; the others go without it",
        "3 clips make 3 files: no more workers have any",
    )
    with (tmp_path / "out/clips.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(one["id"], one["file"]) for one in rows] == [
        (name, f"clips-{number:06d}.tar") for number, name in enumerate(ids[:3])
    ]
    with tarfile.open(tmp_path / "out/clips-000001.tar") as archive:
        assert archive.getnames() == [f"clip004.{end}" for end in ("jpg", "wav", "json")]
        assert json.load(archive.extractfile("clip004.json"))["id"] == "clip004"


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


@pytest.mark.parametrize("name", ["webdataset", "parquet"])
def test_what_was_stopped_goes_on_to_the_same_bytes(
    name: str, cache: Cache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if name == "parquet":
        pytest.importorskip("pyarrow", reason="writes Parquet: not installed")
    export_cache(cache, tmp_path / "whole", name, workers=4)
    whole, out = contents(tmp_path / "whole"), tmp_path / "out"
    module = stage.load_format(name)
    write, calls = module.write, iter(range(9))

    def stopped(path: Path, items: Iterator[Any], columns: Any) -> None:
        if next(calls) == 2:
            path.write_bytes(b"half")
            raise OSError(28, "No space left on device")
        write(path, items, columns)

    monkeypatch.setattr(module, "write", stopped)
    with pytest.raises(CacheUnwritableError, match="No space left on device"):
        export_cache(cache, out, name, workers=4)
    have = [file for file in contents(out) if file != "export.json"]
    assert len(have) == 2 and all(contents(out)[file] == whole[file] for file in have)
    told: list[tuple[int, int]] = []
    done = export_cache(cache, out, name, workers=4, progress=lambda *now: told.append(now))
    assert (done.done, done.skipped) == (5, 5) and told[-1] == (10, 10)
    assert contents(out) == whole


def test_another_export_is_refused(cache: Cache, tmp_path: Path) -> None:
    export_cache(cache, tmp_path, "webdataset", workers=2)
    for other, differs in (
        ({"workers": 3}, "files"),
        ({"ids": IDS[:4]}, "clips"),
        ({"columns": []}, "cache_sha256"),
    ):
        with pytest.raises(UsageError, match=rf"another export \({differs} differs\)"):
            export_cache(cache, tmp_path, "webdataset", **{"workers": 2, **other})
    (tmp_path / "other").mkdir()
    (tmp_path / "other/notes.txt").touch()
    with pytest.raises(UsageError, match="holds no export"):
        export_cache(cache, tmp_path / "other", "webdataset")
    with pytest.raises(UsageError, match="frame and sound are always there"):
        export_cache(cache, tmp_path / "new", "webdataset", columns=["extract/frame_jpeg"])


def test_parquet_without_its_package(
    cache: Cache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "avpipe.stages.exchange.parquet", raising=False)
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(MissingDependencyError, match=r"pyarrow: pip install 'avpipe\[exchange\]'"):
        export_cache(cache, tmp_path / "out", "parquet")
    assert not (tmp_path / "out").exists()


def test_the_command(cache: Cache, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "few.txt").write_text("clip002\nclip007\n")
    words = ["export-cache", str(tmp_path / "out"), "--cache", str(cache.path), "--workers", "2"]
    words += ["--ids", str(tmp_path / "few.txt"), "--column", "extract/spectrogram_wide", "--json"]
    assert main(words) == 0
    document = json.loads(capsys.readouterr().out)
    assert (document["files"], document["clips"], document["notices"]) == (2, 2, [])
    with tarfile.open(tmp_path / "out/clips-000001.tar") as archive:
        name = "clip007.extract-spectrogram_wide.npy"
        found = np.load(io.BytesIO(archive.extractfile(name).read()))
    np.testing.assert_array_equal(found, cache.clip("clip007").spectrogram_wide.astype("<f2"))


def test_figures_are_followed(tmp_path: Path) -> None:
    """A line counts once it is whole, and its checksum is no figure."""
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"crc32": 1, "step": 1, "loss": 2.5}\n{"crc32": 2, "step": 2, "lo')
    looks = iter([False, False, True, True])

    def is_over() -> bool:
        ends = next(looks)
        if ends and not path.read_text().endswith("\n"):
            with path.open("a") as file:
                file.write('ss": 2.25}\n')
        return ends

    follow: Callable[..., None] = runpy.run_path(
        str(EXAMPLE.with_name("follow_metrics.py"))
    )["follow"]  # fmt: skip
    follow.__globals__["time"] = type("Now", (), {"sleep": staticmethod(lambda seconds: None)})
    told: list[Any] = []
    follow(path, lambda figures, step: told.append((step, figures)), is_over)
    assert told == [(1, {"step": 1, "loss": 2.5}), (2, {"step": 2, "loss": 2.25})]


FORMATS = ["webdataset", "parquet"]


def exported(name: str, cache: Cache, out: Path) -> None:
    if name == "parquet":
        pytest.importorskip("pyarrow", reason="writes Parquet: not installed")
    words = ["--cache", str(cache.path), "--format", name, "--workers", "2"]
    assert main(["export-cache", str(out), *words, "--column", "hints/detr-r50"]) == 0


def verified(folder: Path, capsys: pytest.CaptureFixture[str]) -> tuple[int, Any, str]:
    capsys.readouterr()
    code = main(["verify", str(folder), "--json"])
    printed = capsys.readouterr()
    return code, json.loads(printed.out), printed.err


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("how", [flip, Path.unlink], ids=["damaged", "gone"])
@pytest.mark.parametrize("name", FORMATS)
def test_each_file_of_an_export_is_verified_and_made_again(
    name: str,
    how: Callable[[Path], None],
    cache: Cache,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = tmp_path / "out"
    exported(name, cache, out)
    whole = contents(out)
    done = subprocess.run(["sha256sum", "-c", "--quiet", "SHA256SUMS"], cwd=out, check=False)
    assert done.returncode == 0
    code, found, _ = verified(out, capsys)
    assert (code, found["files"], found["damaged"], found["notices"]) == (0, 5, {}, [])
    for file in whole:
        how(out / file)
        code, found, _ = verified(out, capsys)
        assert (code, list(found["damaged"])) == (5, [file])
        for line in found["commands"]:
            words = shlex.split(line.replace("CACHE", str(cache.path)), comments=True)
            if words[0] == "rm":
                subprocess.run(words, check=True)
            else:
                assert main(words[1:]) == 0, line
        different = {one for one, content in contents(out).items() if content != whole[one]}
        assert different <= {"SHA256SUMS"}  # a comment says how the command was called last
        assert verified(out, capsys)[0] == 0


@pytest.mark.parametrize("name", FORMATS)
def test_an_export_is_known_by_what_is_left(
    name: str, cache: Cache, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    exported(name, cache, out)
    for file in ("export.json", "SHA256SUMS"):
        (out / file).unlink()
    code, found, err = verified(out, capsys)
    assert (code, found["commands"]) == (5, [])
    assert set(found["damaged"]) == {"export.json", "SHA256SUMS"}
    assert "no command makes that again" in err and "above" not in err


def test_an_export_that_is_not_finished_is_no_damage(
    cache: Cache, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    exported("webdataset", cache, out)
    for file in ("clips-000001.tar", "clips.csv", "SHA256SUMS"):
        (out / file).unlink()
    code, found, _ = verified(out, capsys)
    assert (code, found["damaged"]) == (0, {})
    assert "is not finished: the same `avpipe export-cache` goes on" in found["notices"][0]


def test_damage_of_an_export_is_not_taken_for_its_content(
    cache: Cache, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Also where the same command runs again: what is there keeps the sum it had."""
    exported("webdataset", cache, tmp_path / "out")
    flip(tmp_path / "out/clips-000000.tar")
    exported("webdataset", cache, tmp_path / "out")
    assert list(verified(tmp_path / "out", capsys)[1]["damaged"]) == ["clips-000000.tar"]
