"""Clips at addresses and in tars, from what the user names to shards."""

import io
import json
import os
import tarfile
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from asked_to_extract import settings_for
from avpipe import drafts
from avpipe.cache.repair import lost_sources
from avpipe.cache.store import Cache
from avpipe.errors import ClipError, InputError, MissingDependencyError, Reason, UsageError
from avpipe.pipeline.extract import elsewhere
from avpipe.pipeline.extract import estimate as estimating
from avpipe.pipeline.extract import pieces as cutting
from avpipe.pipeline.extract import run as extract_run
from avpipe.pipeline.extract.run import ExtractSummary, extract
from avpipe.pipeline.extract.scan import scan
from avpipe.pipeline.extract.workers import close_decoder_child, fitness_of
from avpipe.pipeline.main import main
from avpipe.pipeline.pages.failures import list_failures
from avpipe.stages.sources import archives, reach, staging
from avpipe.stages.synth.run import synth
from avpipe.stages.workers.fitness import require_fit
from clip_server import Answer, ClipServer, clips_served
from fake_clips import made_of

FILES = {
    "a.mp4": b"first" * 300,
    "sub/b c.mp4": b"second" * 300,
    "sub/notes.md": b"no clip",
    "flickr/frames/1.jpg": b"a picture" * 100,
    "flickr/audio/1.wav": b"its sound",
    "flickr/audio/2.wav": b"no picture",
}
CLIPS = ["a.mp4", "flickr/frames/1.jpg", "sub/b c.mp4"]


class ReadsFiles:
    """A stand-in decoder: a row depends on the bytes of a clip's files alone."""

    def __init__(self) -> None:
        self.paths: list[str] = []

    def duration(self, path: str) -> float:
        assert Path(path).read_bytes()
        return 6.0

    def row(self, line: Mapping[str, Any]) -> Any:
        self.paths.append(line["path"])
        files = [Path(line[key]) for key in ("path", "audio_path") if line.get(key)]
        if lacking := [path for path in files if not path.exists()]:
            raise ClipError(Reason.MISSING, f"there is no {lacking[0].name}")
        content = b"".join(path.read_bytes() for path in files)
        if not content:
            raise ClipError(Reason.EMPTY)
        return made_of(content.hex())


@pytest.fixture(autouse=True)
def decoder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> ReadsFiles:
    """Decode nothing, wait for nothing, and fetch into a folder of the test."""
    stand_in = ReadsFiles()
    monkeypatch.setattr(extract_run, "decoder_child", lambda params, timeout_s: stand_in)
    monkeypatch.setattr(reach, "wait", lambda seconds: None)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    archives._contents.cache_clear()
    return stand_in


@pytest.fixture
def server() -> Iterator[ClipServer]:
    with clips_served({f"v/{name}": content for name, content in FILES.items()}) as running:
        yield running


@pytest.fixture
def memory() -> Iterator[Any]:
    fsspec = pytest.importorskip("fsspec")
    files = fsspec.filesystem("memory")
    for name, content in FILES.items():
        files.pipe_file(f"/bucket/v/{name}", content)
    yield files
    files.store.clear()


def folder_of(path: Path) -> Path:
    for name, content in FILES.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(content)
    return path


def tar_of(path: Path, files: Mapping[str, bytes] = FILES) -> Path:
    with tarfile.open(path, "w") as archive:
        for name, content in files.items():
            header = tarfile.TarInfo(name)
            header.size = len(content)
            archive.addfile(header, io.BytesIO(content))
    return path


def run(cache: Path, *inputs: object, **named: Any) -> ExtractSummary:
    settings = settings_for(tuple(map(str, inputs)), cache, jobs=1, **named)
    done = extract(settings)
    assert isinstance(done, ExtractSummary)
    return done


def shards(cache: Path) -> list[bytes]:
    """Return what was published, less the headers, which name the manifest."""
    found = sorted([*cache.glob("extract/*.h5"), *cache.glob("audio/*.h5")])
    assert found
    return [path.read_bytes()[4096:] for path in found]


def listed(cache: Path) -> list[dict[str, Any]]:
    return [dict(line) for _, line in Cache(cache).manifest.lines()]


@pytest.fixture(scope="module")
def as_local(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[bytes], list[str]]:
    """Return what is published of the clips of a folder, and their ids."""
    folder = tmp_path_factory.mktemp("local")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(extract_run, "decoder_child", lambda params, timeout_s: ReadsFiles())
        done = run(folder / "cache", folder_of(folder / "v"))
    assert done.done == len(CLIPS) and done.ignored == {".md": 1, ".wav": 1}
    return shards(folder / "cache"), [line["id"] for line in listed(folder / "cache")]


@pytest.mark.parametrize("kind", ["web", "memory", "tar", "tar of the web", "tar in memory"])
def test_the_same_clips_from_anywhere_are_the_same_bytes(
    kind: str,
    server: ClipServer,
    memory: Any,
    tmp_path: Path,
    as_local: tuple[list[bytes], list[str]],
) -> None:
    packed = tar_of(tmp_path / "x.tar")
    server.files["x.tar"] = packed.read_bytes()
    memory.pipe_file("/bucket/x.tar", packed.read_bytes())
    place = {
        "web": f"{server.url}/v/",
        "memory": "memory://bucket/v",
        "tar": packed,
        "tar of the web": f"{server.url}/x.tar",
        "tar in memory": "memory://bucket/x.tar",
    }[kind]
    found = run(tmp_path / "cache", place)
    assert (found.done, found.ignored) == (len(CLIPS), {".md": 1, ".wav": 1})
    ids = [line["id"] for line in listed(tmp_path / "cache")]
    assert (shards(tmp_path / "cache"), ids) == as_local
    again = run(tmp_path / "cache", place)
    assert (again.planned, again.skipped, again.notices) == (0, 3, found.notices)
    assert not list(drafts.temporary_parent().iterdir())


def test_planning_stores_sizes_etags_and_places_in_tars(server: ClipServer, tmp_path: Path) -> None:
    run(tmp_path / "web", f"{server.url}/v")
    first = listed(tmp_path / "web")[0]
    assert first["bytes"] == len(FILES["a.mp4"]) and first["etag"].startswith('"')
    assert Cache(tmp_path / "web").manifest.roots == [{"path": f"{server.url}/v", "device": 1}]
    run(tmp_path / "tar", tar_of(tmp_path / "x.tar"))
    first = listed(tmp_path / "tar")[0]
    assert first["path"] == "x.tar/a.mp4" and "etag" not in first
    assert (tmp_path / "x.tar").read_bytes()[first["offset"] :].startswith(FILES["a.mp4"])


def test_a_list_may_name_addresses_and_tars(server: ClipServer, tmp_path: Path) -> None:
    folder_of(tmp_path)
    tar_of(tmp_path / "x.tar", {"t1.mp4": b"1", "t2.mp4": b"22"})
    tar_of(tmp_path / "y.tar", {"k/t3.mp4": b"333"})
    lines = ["a.mp4", f"{server.url}/v/sub/b%20c.mp4", "x.tar", "y.tar/k/t3.mp4"]
    lines += ["y.tar/gone.mp4", f"{server.url}/v/gone.mp4"]
    (tmp_path / "clips.txt").write_text("\n".join(lines))
    done = run(tmp_path / "cache", tmp_path / "clips.txt")
    assert (done.done, done.failed_by_reason) == (5, {"missing": 2})
    assert {line["id"]: line["path"] for line in listed(tmp_path / "cache")} == {
        "a": "a.mp4", "b c": "v/sub/b c.mp4", "t1": "x.tar/t1.mp4", "t2": "x.tar/t2.mp4",
        "t3": "y.tar/k/t3.mp4", "gone": "y.tar/gone.mp4",
    } | {"gone": "y.tar/gone.mp4"}  # fmt: skip


@pytest.mark.parametrize("place", ["web", "memory", "web tar"])
def test_a_file_that_an_input_names_and_that_is_not_there_stops_the_run(
    place: str, server: ClipServer, memory: Any, tmp_path: Path
) -> None:
    """As a local one does: a typing error is no clip that failed."""
    server.files["x.tar"] = tar_of(tmp_path / "x.tar").read_bytes()
    homes = {"web": f"{server.url}/v", "memory": "memory://box", "web tar": f"{server.url}/x.tar"}
    memory.pipe("/box/a.mp4", b"there")
    gone = f"{homes[place]}/gone.mp4"
    for inputs in ([gone], [f"{homes[place]}/a.mp4", gone]):
        with pytest.raises(InputError, match=r"gone\.mp4: no such file"):
            scan(inputs)
    assert [clip.id for clip in scan([f"{homes[place]}/a.mp4"]).candidates] == ["a"]


@pytest.mark.parametrize("place", ["web", "memory", "tar", "web tar"])
def test_lists_and_tables_start_at_any_root(
    place: str, server: ClipServer, memory: Any, tmp_path: Path
) -> None:
    """VGGSound's csv finds what was cut by its own names; paths and sounds are there."""
    files = {"cut/---g-f_I2yQ_1000_11000.mp4": b"cut", "hpDY7u8B8hE.mp4": b"whole", "s.wav": b"s"}
    packed = tar_of(tmp_path / "x.tar", files)
    server.files |= {f"w/{name}": content for name, content in files.items()}
    server.files["x.tar"] = packed.read_bytes()
    for name, content in files.items():
        memory.pipe_file(f"/bucket/w/{name}", content)
    root = {
        "web": f"{server.url}/w", "memory": "memory://bucket/w", "tar": str(packed),
        "web tar": f"{server.url}/x.tar",
    }[place]  # fmt: skip
    (tmp_path / "vgg.csv").write_text(
        "---g-f_I2yQ,1,marching,test\nhpDY7u8B8hE,5,barking,train\nAAAAAAAAAAA,5,none,train\n"
    )
    found = scan([str(tmp_path / "vgg.csv")], root=root).candidates
    by_id = {clip.id: clip for clip in found}
    assert by_id["---g-f_I2yQ_000001"].bytes == 3
    assert by_id["hpDY7u8B8hE_000005"].start_s == 5.0
    assert by_id["AAAAAAAAAAA_000005"].bytes == 0
    (tmp_path / "t.csv").write_text("path,id,audio_path\nhpDY7u8B8hE.mp4,x,s.wav\n")
    (clip,) = scan([str(tmp_path / "t.csv")], root=root).candidates
    assert (clip.id, clip.bytes) == ("x", 5)
    assert clip.audio_path == clip.path.replace("hpDY7u8B8hE.mp4", "s.wav")


def test_many_tars_are_each_looked_into_once(server: ClipServer, tmp_path: Path) -> None:
    names = [f"{number:02}.tar" for number in range(20)]
    for name in names:
        files = {f"{name}-{clip}.mp4": b"x" for clip in "ab"}
        server.files[name] = tar_of(tmp_path / name, files).read_bytes()
    lines = [f"{server.url}/{name}/{name}-{clip}.mp4" for clip in "ab" for name in names]
    lines += [f"{server.url}/gone.tar/x.mp4"]
    (tmp_path / "clips.txt").write_text("\n".join(lines))
    found = scan([str(tmp_path / "clips.txt")]).candidates
    assert [clip.bytes for clip in found] == [1] * 40 + [0]
    assert sorted(server.names("GET")) == names


def test_the_command_and_the_settings_file_take_addresses(
    server: ClipServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["extract", f"{server.url}/v", "--jobs", "1", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["done"] == 3
    (tmp_path / "ids.txt").write_text("a\n")
    Path("avpipe.toml").write_text(
        f'inputs = ["{server.url}/v"]\ncache = "two"\njobs = 1\nroot = ["0={server.url}/v"]\n'
    )
    assert main(["extract", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["done"] == 3
    words = ["extract", "ids.txt", "--root", f"{server.url}/v", "--cache", "three", "--json"]
    assert main(words) == 0
    assert json.loads(capsys.readouterr().out)["done"] == 1
    assert main(["extract", "https://me:hush@host/v?hush", "--cache", "four"]) == 4
    assert "hush" not in capsys.readouterr().err


def test_a_worker_elsewhere_has_to_reach_a_clip_of_each_address(
    server: ClipServer, tmp_path: Path
) -> None:
    cache = tmp_path / "cache"
    run(cache, f"{server.url}/v", folder_of(tmp_path / "w"))
    settings = settings_for((), cache, scheduler="tcp://host:1")
    manifest = Cache(cache).manifest
    folders = extract_run._folders(settings, manifest)
    assert sorted(folders) == sorted([f"{server.url}/v/a.mp4", str(tmp_path / "w")])
    asked = fitness_of(settings, extract_run.FeatureParams(), folders)
    require_fit(asked)
    server.always["v/a.mp4"] = Answer(403)
    with pytest.raises(InputError, match=r"^host \S+ cannot fetch http://\S+/v/a\.mp4 .*denies"):
        require_fit(asked)


def test_the_same_file_by_two_addresses_is_planned_once(server: ClipServer, tmp_path: Path) -> None:
    (tmp_path / "clips.txt").write_text(f"{server.url}/v/a.mp4\n{server.url}/v/../v/a.mp4\n")
    assert run(tmp_path / "cache", tmp_path / "clips.txt").planned == 1
    assert run(tmp_path / "cache", f"{server.url}/v").planned == 2
    assert run(tmp_path / "cache", f"{server.url}/v/a.mp4", f"{server.url}/v/sub").planned == 0
    assert len(Cache(tmp_path / "cache").manifest.roots) == 1


def test_a_clip_that_changed_is_tried_again_if_it_failed_and_named_if_not(
    server: ClipServer, tmp_path: Path
) -> None:
    server.files["v/e.mp4"] = b""
    cache = tmp_path / "cache"
    assert run(cache, f"{server.url}/v").failed_by_reason == {"empty": 1}
    before = shards(cache)
    server.files["v/e.mp4"], server.files["v/a.mp4"] = b"no longer empty", b"not the first"
    done = run(cache, f"{server.url}/v")
    assert (done.planned, done.done, done.failed_total) == (1, 1, 0)
    (notice,) = [line for line in done.notices if "changed" in line]
    assert notice.startswith("a clip has changed since planned, a.mp4 first")
    assert shards(cache)[0] == before[0]
    again = run(cache, f"{server.url}/v")
    assert again.planned == 0 and notice in again.notices


def test_a_clip_that_changes_before_it_is_extracted_fails_until_it_is_named_again(
    server: ClipServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = tmp_path / "cache"
    with monkeypatch.context() as patch:
        patch.setattr(extract_run, "_run", lambda *_: extract_run._Counts())
        run(cache, f"{server.url}/v")
    server.files["v/a.mp4"] = b"another"
    done = run(cache)
    assert (done.done, done.failed_by_reason) == (2, {"io_error": 1})
    assert run(cache, f"{server.url}/v").done == 1
    assert listed(cache)[-1]["bytes"] == len(b"another")


def test_a_host_that_goes_away_stops_the_run_and_fails_no_clip(
    server: ClipServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache, place = tmp_path / "cache", f"{server.url}/v"
    server.always["v/sub/b c.mp4"] = Answer(503)
    with pytest.raises(InputError, match=r"http://\S+ does not answer \(HTTP 503\)"):
        run(cache, place)
    server.always.clear()
    with monkeypatch.context() as patch:
        patch.setattr(extract_run, "_run", lambda *_: extract_run._Counts())
        run(cache, place)
    server.always = {"v/sub/b c.mp4": Answer(502), "": Answer(502)}
    with pytest.raises(InputError, match="does not answer") as caught:
        run(cache)
    assert caught.value.exit_code == 4 and not list(cache.glob("extract/*.h5"))
    server.always.clear()
    assert run(cache).done == 3


@pytest.mark.parametrize("status", [401, 403])
def test_a_host_that_wants_credentials_is_named_while_planning(
    server: ClipServer, tmp_path: Path, status: int
) -> None:
    (tmp_path / "clips.txt").write_text(f"{server.url}/v/a.mp4\n{server.url}/v/sub/b%20c.mp4\n")
    server.always = {f"v/{name}": Answer(status) for name in FILES}
    with pytest.raises(InputError, match=rf"^http://\S+ denies access \(HTTP {status}\)"):
        run(tmp_path / "cache", tmp_path / "clips.txt")
    del server.always["v/a.mp4"]  # one is readable: then the other alone is at fault
    done = run(tmp_path / "cache", tmp_path / "clips.txt")
    assert (done.done, done.failed_by_reason) == (1, {"io_error": 1})


@pytest.mark.parametrize(
    ("name", "said"),
    [
        (
            "ftp://host/v",
            "ftp://host/v: addresses of this kind are not read: https://, http",
        ),
        ("ftp:/host/v", "^ftp:/host/v: addresses of this kind are not read: https://, http"),
        ("ftp://me:hush@host/v", "^ftp://host/v: addresses of this kind"),
        ("file:///videos/a.mp4", "machine are named by their paths: /videos/a.mp4$"),
        ("file:/videos", "^file:/videos: files of this machine .* paths: /videos$"),
        ("file://localhost/videos", "named by their paths: /videos$"),
        ("s3:/bucket/v", "^s3:/bucket/v: an address has two slashes .* scheme: s3://bucket/v$"),
        ("hf:/datasets/me/v", "two slashes behind its scheme: hf://datasets/me/v$"),
        ("https:///host/v", "^https:///host/v: an address has two slashes .*: https://host/v$"),
        ("https:/me:hush@host/v", "^https:/host/v: an address has two slashes .*: https://host/v$"),
        ("https://me:hush@host/v", "https://host/v: holds a user or a password"),
        ("https://host/v?sig=hush", r"https://host/v\?\.\.\.: holds a query"),
        ("URL/v/list.txt", "list.txt: a list has to lie on this machine"),
        ("URL/v/clips.tar.gz", "clips.tar.gz: packed"),
        ("URL/v/t.parquet", "a table that is not read here"),
        ("URL/nothing", "nothing: nothing is there"),
        ("URL/v/sub/notes.md", "nothing is there"),
        ("URL/gone.tar", "gone.tar: no such file"),
        ("URL/page", "page: it lists no files: name them in a list"),
        ("URL/docs", "docs: no clips found .left alone: 1 .md"),
        ("memory://bucket/none", "memory://bucket/none: no clips found"),
    ],
)
def test_what_cannot_be_used_is_one_line(
    name: str, said: str, server: ClipServer, memory: Any, tmp_path: Path
) -> None:
    server.files |= {"page/": b"plain", "docs/x.md": b"x"}
    with pytest.raises(InputError, match=said) as caught:
        run(tmp_path / "cache", name.replace("URL", server.url))
    assert "hush" not in str(caught.value) and "\n" not in str(caught.value)
    assert not (tmp_path / "cache").exists()


def test_secrets_in_lists_and_roots_are_refused_and_not_repeated(tmp_path: Path) -> None:
    (tmp_path / "clips.txt").write_text("https://host/a.mp4?sig=hush\n")
    with pytest.raises(InputError, match="query") as caught:
        run(tmp_path / "cache", tmp_path / "clips.txt")
    assert "hush" not in str(caught.value)
    for root in ("https://me:hush@host/v", "https://host/v?sig=hush"):
        with pytest.raises(InputError, match="https://host/v") as caught:
            run(tmp_path / "cache", tmp_path / "clips.txt", root=root)
        assert "hush" not in str(caught.value)
        with pytest.raises(UsageError, match="--root https://host/v") as wrong:
            _ = settings_for((), tmp_path, root_map={0: root}).remap
        assert "hush" not in str(wrong.value)


def test_a_server_without_parts_cannot_serve_a_tar(server: ClipServer, tmp_path: Path) -> None:
    server.files["x.tar"] = tar_of(tmp_path / "x.tar", {"a.mp4": os.urandom(90_000)}).read_bytes()
    server.ranges = False
    with pytest.raises(InputError, match=r"x\.tar: it sends no parts of files"):
        run(tmp_path / "cache", f"{server.url}/x.tar")
    server.ranges, server.lengths = True, False
    with pytest.raises(InputError, match=r"x\.tar: it does not say how large"):
        run(tmp_path / "cache", f"{server.url}/x.tar")


def test_what_a_tar_holds_besides_clips_is_told(tmp_path: Path) -> None:
    members = {"a.mp4": b"old", "./a.mp4": b"new", "../out.mp4": b"x", "/abs.mp4": b"x"}
    packed = tar_of(tmp_path / "x.tar", {**members, "z.mp4": os.urandom(2000)})
    with packed.open("r+b") as file:
        file.truncate(archives.contents(str(packed))[0].members["z.mp4"].offset + 100)
    done = run(tmp_path / "cache", packed)
    assert done.failed_by_reason == {"bad_id": 2, "truncated": 1}
    notices = " ".join(done.notices)
    assert "ends too early" in notices and "more than once, the last is taken: a.mp4" in notices
    assert [one["reason"] for one in list_failures(tmp_path / "cache")["failures"]]


@pytest.mark.parametrize("kind", ["local", "web"])
def test_a_tar_that_was_written_anew(kind: str, server: ClipServer, tmp_path: Path) -> None:
    """Of a local one only the size is known, as of any file; what moved in it is found."""
    packed = tar_of(tmp_path / "x.tar", {"a.mp4": b"first", "b.mp4": b"second"})
    server.files["x.tar"] = packed.read_bytes()
    place: object = packed if kind == "local" else f"{server.url}/x.tar"
    cache = tmp_path / "cache"
    settings = settings_for((str(place),), cache, jobs=1)
    extract_run._plan(settings, extract_run.FeatureParams())
    tar_of(packed, {"new/folder/0.mp4": b"x" * 900, "b.mp4": b"second", "a.mp4": b"firs"})
    server.files["x.tar"] = packed.read_bytes()
    done = run(cache)
    changed = {"io_error": 1 if kind == "local" else 2}
    assert (done.done, done.failed_by_reason) == (2 - changed["io_error"], changed)


def test_a_root_that_moved_is_named_once_more(memory: Any, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    run(cache, "memory://bucket/v")
    for name, content in FILES.items():
        memory.pipe_file(f"/other/v/{name}", content)
        memory.rm_file(f"/bucket/v/{name}")
    with pytest.raises(InputError, match=r"--root 0=memory://other/v"):
        run(cache, "memory://other/v")
    (cache / "extract/0000000.h5").unlink()
    with pytest.raises(InputError, match=r"memory://bucket/v is gone: .* --root 0=ADDRESS"):
        run(cache)
    # what lies there now is of another date: memory:// has no better name for a content
    done = run(cache, root_map={0: folder_of(tmp_path / "v")})
    assert done.done == 3


def test_a_repair_does_not_call_lost_what_lies_elsewhere(
    server: ClipServer, tmp_path: Path
) -> None:
    cache = tmp_path / "cache"
    run(cache, f"{server.url}/v", tar_of(tmp_path / "x.tar", {"t.mp4": b"x"}))
    manifest = Cache(cache).manifest
    assert lost_sources(manifest, [("extract", 0)]) == []
    (tmp_path / "x.tar").unlink()
    assert [Path(lost.what).name for lost in lost_sources(manifest, [("extract", 0)])] == ["t.mp4"]
    assert manifest.roots[0]["path"].startswith("http://")


def test_failures_are_listed_by_their_addresses(server: ClipServer, tmp_path: Path) -> None:
    server.files["v/e.mp4"] = b""
    run(tmp_path / "cache", f"{server.url}/v")
    (found,) = list_failures(tmp_path / "cache")["failures"]
    assert found["path"] == f"{server.url}/v/e.mp4"


def test_local_files_are_neither_copied_nor_looked_at_twice(
    decoder: ReadsFiles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(elsewhere, "look_at", None)
    monkeypatch.setattr(staging, "temporary_folder", None)
    folder_of(tmp_path / "v")
    (tmp_path / "v/clips.txt").write_text("a.mp4\nsub/b c.mp4\n")
    run(tmp_path / "cache", tmp_path / "v/clips.txt")
    assert decoder.paths == [f"{tmp_path}/v/a.mp4", f"{tmp_path}/v/sub/b c.mp4"]


def test_tars_in_a_folder_are_left_alone_and_said(tmp_path: Path) -> None:
    (tmp_path / "v").mkdir()
    tar_of(tmp_path / "v/x.tar")
    with pytest.raises(InputError, match=r"left alone: 1 \.tar.*; name the \.tar themselves"):
        scan([str(tmp_path / "v")])
    assert Counter(clip.root for clip in scan([str(tmp_path / "v/x.tar")]).candidates) == {
        str(tmp_path / "v"): 3
    }


def test_ids_from_paths_hold_the_tar_as_a_folder(tmp_path: Path) -> None:
    found = scan([str(tar_of(tmp_path / "x.tar"))], id_from="path").candidates
    assert found[0].id == "x.tar__a"


def test_a_missing_package_is_told_before_anything_is_planned(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def absent(kind: str, host: str) -> None:
        raise reach.missing_package(host, "s3fs")

    monkeypatch.setattr(reach, "_place", absent)
    with pytest.raises(MissingDependencyError, match="s3://bucket needs the package s3fs"):
        run(tmp_path / "cache", "s3://bucket/v")
    assert not (tmp_path / "cache").exists()


def test_real_clips_of_a_server_decode_as_local_ones(
    server: ClipServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()
    videos = synth(tmp_path / "w", clips=1, classes=4, seed=2).videos
    names = {path.name: path.read_bytes() for path in videos.iterdir()}
    server.files = {f"v/{name}": content for name, content in names.items()}
    for name, place in {"local": videos, "web": f"{server.url}/v"}.items():
        assert run(tmp_path / name, place).failed == 0
        assert shards(tmp_path / name) == shards(tmp_path / "local"), name
    close_decoder_child()


@pytest.mark.parametrize("kind", ["web", "tar"])
def test_pieces_and_estimates_fetch_what_they_look_at(
    kind: str, server: ClipServer, decoder: ReadsFiles, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    place = {"web": f"{server.url}/v", "tar": tar_of(tmp_path / "x.tar")}[kind]
    monkeypatch.setattr(cutting, "decoder_child", lambda params, timeout_s: decoder)
    monkeypatch.setattr(estimating, "DecoderChild", lambda params, timeout_s: nullcontext(decoder))
    dry = settings_for((str(place),), tmp_path / "cache", jobs=1, dry_run=True)
    found = estimating.estimate(dry, extract_run.FeatureParams())
    assert (found.new, found.sampled, found.sample_failed) == (3, 3, 0)
    assert found.bytes_in == sum(len(FILES[name]) for name in CLIPS)
    done = extract(replace(dry, dry_run=False, segment_s=2.0))
    assert isinstance(done, ExtractSummary) and (done.done, done.failed) == (9, 0)
    assert extract(replace(dry, dry_run=False, segment_s=2.0)).planned == 0  # type: ignore[union-attr]


def test_pieces_take_the_place_of_a_film_that_failed_and_has_changed(
    server: ClipServer, decoder: ReadsFiles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each run planned all of them once more: they failed as `duplicate_id`."""
    monkeypatch.setattr(cutting, "decoder_child", lambda params, timeout_s: decoder)
    server.files = {"v/film.mp4": b"bad" * 999}
    settings = settings_for((f"{server.url}/v",), tmp_path / "cache", jobs=1, segment_s=2.0)

    def bad(*_: object) -> Any:
        raise ClipError(Reason.NOT_MEDIA)

    with monkeypatch.context() as patch:
        patch.setattr(decoder, "duration", bad)
        patch.setattr(decoder, "row", bad)
        assert extract(settings).as_json()["failed_by_reason"] == {"not_media": 1}
    server.files["v/film.mp4"] = b"good" * 999
    done = extract(settings).as_json()
    assert (done["planned"], done["done"], done["failed_total"]) == (3, 3, 0)
    assert extract(settings).as_json()["planned"] == 0


def test_a_file_inside_a_tar_is_an_input(
    tmp_path: Path, as_local: tuple[list[bytes], list[str]]
) -> None:
    packed = tar_of(tmp_path / "x.tar")
    named = [f"{packed}/{name}" for name in CLIPS]
    assert run(tmp_path / "cache", *named).done == len(CLIPS)
    assert [line["id"] for line in listed(tmp_path / "cache")] == as_local[1]
    (whole, alone) = (scan([str(packed)]).candidates, scan(named).candidates)
    assert alone == whole  # the picture has its sound, and all of them their place
    assert scan([str(packed), named[0]]).candidates == whole
    (notes,) = scan([f"{packed}/sub/notes.md"]).candidates  # tried whatever its suffix
    assert (notes.path, notes.bytes) == ("x.tar/sub/notes.md", len(FILES["sub/notes.md"]))


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("x.tar/gone.mp4", "x.tar/gone.mp4: no file of that tar: name {}/x.tar itself"),
        ("x.tar/sub", "x.tar/sub: a folder of that tar: name {}/x.tar itself"),
        ("x.tar/", "x.tar/: {}/x.tar is a file, nothing lies below it: name it itself"),
        ("a.mp4/b.mp4", "a.mp4/b.mp4: {}/a.mp4 is a file, nothing lies below it"),
        ("fifo/b.mp4", "fifo/b.mp4: {}/fifo is a file, nothing lies below it"),
        ("x.tar.gz/a.mp4", "x.tar.gz: packed, which is not read here: unpack it"),
        ("x.zip/a.mp4", "x.zip: packed"),
        ("t.parquet/a.mp4", "t.parquet: a table that is not read here"),
    ],
)
def test_what_leads_into_a_file_says_what_to_name(name: str, said: str, tmp_path: Path) -> None:
    tar_of(tmp_path / "x.tar")
    for other in ("a.mp4", "x.tar.gz", "x.zip", "t.parquet"):
        (tmp_path / other).write_bytes(b"x")
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(InputError) as caught:
        scan([f"{tmp_path}/{name}"])
    assert said.format(tmp_path) in str(caught.value) and "\n" not in str(caught.value)
    (tmp_path / "clips.txt").write_text("a.mp4\n")
    with pytest.raises(InputError, match=r"is a file|packed|not read here"):
        scan([f"{tmp_path}/clips.txt"], root=f"{tmp_path}/{name}")


SHARD = {
    "key0.jpg": b"a picture",
    "key0.wav": b"its sound",
    "key0.json": b"{}",
    "in/key.1.png": b"second",
    "in/key.1.FLAC": b"its sound",
    "key2.mp4": b"a video",
    "key2.jpg": b"its picture",
    "key2.wav": b"its sound",
    "key3.jpeg": b"third",
    "key3.jpg": b"third, the better one",
    "key3.mp3": b"its sound",
    "mute.jpg": b"no sound",
    "blind.wav": b"no picture",
    "key0.hints.npy": b"numbers",
    "frames/key0.png": b"a mask",
}


def test_a_picture_and_a_sound_of_one_key_are_a_clip(
    server: ClipServer, tmp_path: Path, decoder: ReadsFiles
) -> None:
    """As WebDataset packs them; what is left alone is counted."""
    packed = tar_of(tmp_path / "shard.tar", SHARD)
    found = scan([str(packed)])
    assert [(clip.id, clip.path, clip.audio_path) for clip in found.candidates] == [
        ("key.1", "shard.tar/in/key.1.png", "shard.tar/in/key.1.FLAC"),
        ("key0", "shard.tar/key0.jpg", "shard.tar/key0.wav"),
        ("key2", "shard.tar/key2.mp4", None),
        ("key3", "shard.tar/key3.jpg", "shard.tar/key3.mp3"),
    ]
    left = {".jpeg": 1, ".jpg": 2, ".json": 1, ".npy": 1, ".png": 1, ".wav": 2}
    assert found.ignored == left
    done = run(tmp_path / "cache", packed)
    assert (done.done, done.failed, done.ignored) == (4, 0, left)
    server.files["shard.tar"] = packed.read_bytes()
    assert run(tmp_path / "web", f"{server.url}/shard.tar").done == 4
    assert shards(tmp_path / "web") == shards(tmp_path / "cache")
    one = scan([f"{packed}/key0.jpg"]).candidates
    assert [clip.audio_path for clip in one] == ["shard.tar/key0.wav"]
    (tmp_path / "ids.txt").write_text("key0\nkey3\n")
    by_id = scan([str(tmp_path / "ids.txt")], root=str(packed)).candidates
    assert [clip.audio_path for clip in by_id] == ["shard.tar/key0.wav", "shard.tar/key3.mp3"]


def test_a_folder_of_pictures_and_sounds_says_how_they_are_paired(tmp_path: Path) -> None:
    for name in ("a.jpg", "a.wav"):
        (tmp_path / name).write_bytes(b"x")
    with pytest.raises(InputError, match=r"no clips found .*columns path and audio_path"):
        scan([str(tmp_path)])
