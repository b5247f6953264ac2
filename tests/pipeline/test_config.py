"""The settings file: precedence, errors that name file and key, `init`, `config`."""

import dataclasses
import json
import os
import re
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from avpipe.errors import Reason, UsageError
from avpipe.pipeline import cli
from avpipe.pipeline.commands.init import template
from avpipe.pipeline.extract.settings import ExtractSettings, failure_limit, parse_roots
from avpipe.pipeline.main import main
from avpipe.pipeline.options import parse_part
from avpipe.pipeline.settings import read_settings

Extracted = Callable[..., ExtractSettings]


@pytest.fixture(autouse=True)
def in_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def write(text: str, name: str = "avpipe.toml") -> Path:
    path = Path(name)
    path.parent.mkdir(exist_ok=True, parents=True)
    path.write_text(text, encoding="utf-8")
    return path


def settings(capsys: pytest.CaptureFixture[str], *words: str) -> dict[tuple[str, str], Any]:
    """Run `avpipe config --json`; return (value, origin) by command and key."""
    capsys.readouterr()
    assert main([*words, "config", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["schema"] == "avpipe.config/1"
    return {
        (command, row["key"]): (row["value"], row["origin"])
        for row in document["settings"]
        for command in row["commands"]
    }


def test_without_a_file_all_are_defaults(capsys: pytest.CaptureFixture[str]) -> None:
    found = settings(capsys)
    assert {origin for _, origin in found.values()} == {"default"}
    assert found["extract", "cache"] == ("avcache", "default")
    assert found["extract", "jobs"] == (len(os.sched_getaffinity(0)), "default")


def test_the_table_is_narrow_and_has_each_key_once(
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = "some/folder/of/a/project/that/is/deep/down"
    write("jobs = 3\nids = 'a/list.txt'\n[knn]\nk = 9\n", f"{folder}/avpipe.toml")
    assert main(["--config", f"{folder}/avpipe.toml", "config"]) == 0
    top, _, head, rule, *lines = capsys.readouterr().out.splitlines()
    assert top == f"settings file: {folder}/avpipe.toml"
    assert max(map(len, (head, rule, *lines))) <= 80
    keys = [line.split()[0] for line in lines if not line.startswith(" ")]
    assert sorted(keys) == sorted({key for keys in cli.commands().values() for key in keys})
    shown = [line.split() for line in lines]
    at = shown.index(["ids", f"{folder}/a/list.txt"])
    assert shown[at + 1] == ["avpipe.toml", "knn,", "cluster,", "train"]
    assert ["jobs", "3", "avpipe.toml", "doctor,", "synth,", "extract"] in shown
    at = shown.index(["k", "9", "avpipe.toml", "knn"])
    assert shown[at + 1] == ["11", "default", "cluster"]


def test_each_source_beats_the_next(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, extracted: Extracted
) -> None:
    write('cache = "top"\njobs = 3\n[extract]\ncache = "table"\n')
    found = settings(capsys)
    assert found["extract", "cache"] == ("table", "avpipe.toml")
    assert found["status", "cache"] == ("top", "avpipe.toml")
    monkeypatch.setenv("AVPIPE_CACHE", "variable")
    assert settings(capsys)["extract", "cache"] == ("variable", "AVPIPE_CACHE")
    assert extracted("videos").cache == Path("variable")
    assert extracted("videos", "--cache", "flag").cache == Path("flag")
    monkeypatch.delenv("AVPIPE_CACHE")
    assert extracted("videos").cache == Path("table")
    assert extracted("videos").jobs == 3


@pytest.fixture
def extracted(runner: Callable[[None], list[ExtractSettings]]) -> Extracted:
    """Run `avpipe extract`, and return what the runner is given."""

    def run(*words: str) -> ExtractSettings:
        given = runner(None)
        assert main(["extract", *words]) == 0
        return given[0]

    return run


def test_extract_needs_no_argument_beside_a_file(extracted: Extracted) -> None:
    write('inputs = ["videos", "/abs/list.csv"]\ncache = "out/avcache"\n')
    found = extracted()
    assert found.inputs == ("videos", "/abs/list.csv")
    assert found.cache == Path("out/avcache")


def test_paths_in_a_file_start_at_its_folder(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, extracted: Extracted
) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    write(
        'inputs = ["videos", "~/more"]\ncache = "avcache"\nroot = ["lists", "0=disk", "1=/abs"]\n',
        "project/avpipe.toml",
    )
    for words in (
        ["--config", "project/avpipe.toml"],
        ["--config=project/avpipe.toml"],
    ):
        found = extracted(*words)
        assert found.inputs == ("project/videos", "/home/me/more")
        assert found.cache == Path("project/avcache")
        assert found.root == Path("project/lists")
        assert found.root_map == {0: Path("project/disk"), 1: Path("/abs")}
    monkeypatch.setenv("AVPIPE_CONFIG", str(tmp_path / "project/avpipe.toml"))
    assert extracted("videos").cache == tmp_path / "project/avcache"


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("job = 4", ["unknown setting job", "did you mean jobs?"]),
        ("[extract]\nsegmnt = 4", ["[extract] segmnt", "did you mean [extract] segment?"]),
        ("[extrct]\njobs = 4", ["[extrct]", "did you mean [extract]?"]),
        ("[status]\njobs = 4", ["unknown setting [status] jobs"]),
        ('jobs = "4"', ["jobs = '4'", "a whole number"]),
        ("jobs = 4.0", ["jobs = 4.0", "a whole number"]),
        ("jobs = true", ["jobs = True", "a whole number"]),
        ("cache = 4", ["cache = 4", "a path in quotes"]),
        ('inputs = "videos"', ["inputs = 'videos'", "a list of paths"]),
        ("inputs = [1]", ["inputs = [1]", "a list of paths"]),
        ('decoder = "opencv"', ["decoder = 'opencv'", 'one of "ffmpeg", "pyav"']),
        ('timeout = "fast"', ["timeout = 'fast'", "a number"]),
        ("jobs = 0", ["jobs:", "greater than or equal to 1"]),
        ("[extract]\nsegment = 0.1", ["segment:", "greater than or equal to 0.2"]),
        ("[extract]\nsegment = nan", ["segment:", "less than or equal to 86400"]),
        ("timeout = inf", ["timeout:", "less than or equal to 86400"]),
        ('max_failures = "x"', ["max_failures:", "--max-failures x: should be"]),
        ('root = ["a","b"]', ["root:", "a second folder"]),
        ("overwrite = true", ["unknown setting overwrite"]),
        ("retry_failed = ''", ["unknown setting retry_failed"]),
        ("jobs = ", [": line 1, column 8: Invalid value"]),
        ("jobs = 1\njobs = 2", [": line 2, column 9: Cannot overwrite"]),
        ("jobs = 1\ncache = '''c\n", [": line 3, column 1: Expected"]),
        ("jobs = 1\n\njob = 4", [": line 3: unknown setting job"]),
        ("jobs = 1\n[extrct]\n", [": line 2: unknown setting [extrct]"]),
        ("[extract]\njobs = 1\n[status]\njobs = 1", [": line 4: unknown setting [status] jobs"]),
        ("jobs = 2\n[extract]\n'jobs' = 'x'", [": line 3: [extract] jobs = 'x'"]),
        ("# 0\njobs = 0", [": line 2: jobs:"]),
        ("cache = 'c'\n[extract]\njobs = 0", [": line 3: jobs:"]),
    ],
)
def test_a_bad_file_is_one_line_that_names_file_and_key(
    text: str, parts: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    write(text)
    for words in (["extract", "videos"], ["config"]):
        assert main(words) == 2
        captured = capsys.readouterr()
        assert captured.out == ""
        assert captured.err.startswith("avpipe: error: avpipe.toml: ")
        assert captured.err.count("\n") == 1
        for part in parts:
            assert part in captured.err


def test_a_missing_or_unreadable_file(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--config", "gone.toml", "config"]) == 2
    assert capsys.readouterr().err == "avpipe: error: gone.toml: No such file or directory\n"
    Path("avpipe.toml").write_bytes(b"cache = '\xff'")
    assert main(["config"]) == 2
    assert "avpipe.toml: line 1: " in capsys.readouterr().err


@pytest.mark.parametrize("make", [os.mkfifo, Path.mkdir, lambda path: path.symlink_to("/dev/zero")])
def test_what_is_no_file_is_not_read(
    make: Callable[[Path], None], capsys: pytest.CaptureFixture[str]
) -> None:
    make(Path("avpipe.toml"))
    assert main(["config"]) == 2
    assert capsys.readouterr().err == "avpipe: error: avpipe.toml: not a regular file\n"


def test_a_bad_variable_is_named(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AVPIPE_JOBS", "many")
    assert main(["extract", "videos"]) == 2
    assert capsys.readouterr().err.startswith("avpipe: error: AVPIPE_JOBS: ")


def test_help_and_init_work_beside_a_bad_file(capsys: pytest.CaptureFixture[str]) -> None:
    write("job = 4")
    assert main(["extract", "--help"]) == 0
    assert main(["init"]) == 2
    assert "is there already" in capsys.readouterr().err


def test_init_writes_a_file_that_changes_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    before = settings(capsys)
    assert main(["init"]) == 0
    assert Path("avpipe.toml").read_text(encoding="utf-8") == template(cli.commands())
    assert settings(capsys) == before


def test_inputs_are_described_as_extract_does() -> None:
    lines = template(cli.commands()).splitlines()
    told = lines[next(n for n, line in enumerate(lines) if line.startswith("# inputs = ")) - 1]
    assert told.startswith(f"# {cli.commands()['extract']['inputs'].help} (doctor, extract")


def test_every_default_that_init_shows_is_the_real_one() -> None:
    commands = cli.commands()
    shown = re.sub(r"(?m)^# (\w+ = )", r"\1", template(commands))
    path = write(shown, "all.toml")
    found = read_settings(path, commands)
    assert {name: set(keys) for name, keys in found.items()} == {
        name: set(keys) for name, keys in commands.items()
    }
    examples = {line.partition(" = ")[0] for line in shown.splitlines() if "# an example" in line}
    for name, keys in commands.items():
        for key, setting in keys.items():
            if key not in examples:
                value = setting.default
                assert str(found[name][key]) == str(value), (name, key)
    assert examples == {
        *("inputs", "jobs", "segment", "shard_clips", "root"),
        *("annotations", "hold_out", "ids", "run", "seeds", "set", "val_ids", "weights"),
        *("geometry", "paper", "sample", "scheduler", "visual_size"),
    }
    assert tomllib.loads(shown)["extract"]["max_failures"] == "100%"


def test_the_file_can_set_what_extract_takes() -> None:
    one_run = {"part", "retry_failed", "overwrite", "dry_run"}
    names = {
        field.name.removesuffix("_s").replace("root_map", "root")
        for field in dataclasses.fields(ExtractSettings)
    }
    assert set(cli.commands()["extract"]) == names - one_run


@pytest.mark.parametrize(("text", "part"), [("0/1", (0, 1)), ("7/8", (7, 8))])
def test_part(text: str, part: tuple[int, int]) -> None:
    assert parse_part(text) == part


@pytest.mark.parametrize("text", ["1/1", "-1/2", "1", "a/b", "0/0", "0/2/3", ""])
def test_bad_part(text: str) -> None:
    with pytest.raises(UsageError, match="from 0"):
        parse_part(text)


def test_roots() -> None:
    assert parse_roots(["/a", "0=/b", "12=c=d"]) == (Path("/a"), {0: Path("/b"), 12: Path("c=d")})
    assert parse_roots([]) == (None, {})
    with pytest.raises(UsageError, match="second folder"):
        parse_roots(["/a", "/b"])
    with pytest.raises(UsageError, match="twice"):
        parse_roots(["0=/a", "0=/b"])


@pytest.mark.parametrize(
    ("text", "limit"), [("0", 0), ("20", 20), ("100%", 400), ("2.5%", 10), ("0%", 0)]
)
def test_failure_limit(text: str, limit: float) -> None:
    assert failure_limit(text, tried=400) == limit


@pytest.mark.parametrize("text", ["", "many", "-1", "1.5", "%", "5 %", "100.1%", "200%"])
def test_bad_failure_limit(text: str) -> None:
    with pytest.raises(UsageError, match="--max-failures"):
        failure_limit(text, tried=400)


def test_reasons_of_a_retry(extracted: Extracted, capsys: pytest.CaptureFixture[str]) -> None:
    assert extracted("videos").retry_failed is None
    assert extracted("--retry-failed", "videos").retry_failed == ""
    assert extracted("--retry-failed", "videos").inputs == ("videos",)
    for reason in Reason:
        assert extracted(f"--retry-failed={reason}", "videos").retry_failed == reason
    assert main(["extract", "videos", "--retry-failed=tired"]) == 2
    assert "--retry-failed=tired: the reasons are missing, empty" in capsys.readouterr().err
