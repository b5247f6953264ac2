"""The command line: every end has its exit code and one line; the options reach the runner."""

import errno
import json
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import get_args

import pytest
import torch
from avpipe import errors
from avpipe.pipeline.extract.settings import ExtractSettings, Spectrogram
from avpipe.pipeline.main import main, normalized
from fake_clips import make_cache


@pytest.fixture(autouse=True)
def in_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


Runner = Callable[[BaseException | None], list[ExtractSettings]]
"""Give it an error to raise, or None; returns the list of the settings that will be noted."""


def test_every_option_reaches_the_runner(runner: Runner) -> None:
    given = runner(None)
    words = "extract a b.mp4 --cache c --jobs 3 --backend loky --part 1/4 --retry-failed=oom "
    words += "--segment 2.5 --decoder ffmpeg --spectrogram 257x300 --audio-seconds 5 --timeout 9 "
    words += "--frame keyframe "
    words += "--shard-clips 4 --id-from path --root r --root 1=s --max-failures 5% --overwrite "
    words += "--dry-run"
    assert main(words.split()) == 0
    assert given == [
        ExtractSettings(
            inputs=("a", "b.mp4"),
            cache=Path("c"),
            jobs=3,
            backend="loky",
            scheduler=None,
            part=(1, 4),
            retry_failed="oom",
            segment_s=2.5,
            decoder="ffmpeg",
            spectrogram="257x300",
            frame="keyframe",
            audio_seconds=5.0,
            timeout_s=9.0,
            shard_clips=4,
            id_from="path",
            root=Path("r"),
            root_map={1: Path("s")},
            overwrite=True,
            max_failures="5%",
            dry_run=True,
        )
    ]


def test_defaults(runner: Runner) -> None:
    given = runner(None)
    assert main(["extract", "videos"]) == 0
    cores = len(os.sched_getaffinity(0))
    named = {"segment_s": None, "timeout_s": 60.0, "shard_clips": None, "audio_seconds": 10.0}
    named |= {
        "spectrogram": "257x276",
        "decoder": "pyav",
        "frame": "middle",
        "backend": "loky",
        "id_from": "stem",
    }
    named |= {"part": None, "retry_failed": None, "root": None, "max_failures": "100%"}
    named |= {"scheduler": None}
    wanted = {"inputs": ("videos",), "cache": Path("avcache"), "jobs": cores, "root_map": {}}
    assert given == [ExtractSettings(**named, **wanted, overwrite=False, dry_run=False)]


def test_names_that_are_no_options_or_no_text(runner: Runner) -> None:
    given = runner(None)
    name = os.fsdecode(b"caf\xe9 \n.mp4")
    assert main(["extract", "--", "-dash.mp4", "--debug", name]) == 0
    assert given[0].inputs == ("-dash.mp4", "--debug", name)


def test_json_and_text(runner: Runner, capsys: pytest.CaptureFixture[str]) -> None:
    runner(None)
    assert main(["extract", "videos", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert (document["schema"], document["done"]) == ("avpipe.extract/1", 3)
    assert main(["extract", "videos"]) == 0
    assert "failed in all     2" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (errors.UsageError("a: b"), 2, "a: b"),
        (errors.ClipsFailedError("all 3 clips failed"), 3, "all 3 clips failed"),
        (errors.InputError("gone"), 4, "gone"),
        (errors.CacheCorruptError("x.h5 is damaged;\nrun"), 5, "x.h5 is damaged; run"),
        (errors.MissingDependencyError("no weights"), 6, "no weights"),
        (errors.CacheUnwritableError("full"), 7, "full"),
        (
            ModuleNotFoundError("No module", name="no_such.part"),
            6,
            "the package no-such is missing: pip install no-such",
        ),
        (
            ImportError("cannot import name 'x' from 'PIL.Image'", name="PIL.Image"),
            6,
            f"pillow {version('pillow')} does not give what avpipe needs of it (cannot import name "
            "'x' from 'PIL.Image'): pip install --force-reinstall \"pillow>=10.3\"",
        ),
        (ImportError("odd"), 1, "internal error: ImportError: odd"),
        (OSError(errno.ENOSPC, "No space left on device", "c/x"), 7, "c/x: No space left"),
        (OSError(errno.EROFS, "Read-only file system", "c/x"), 7, "c/x: Read-only"),
        (PermissionError(errno.EACCES, "Permission denied", "c/x"), 7, "c/x: Permission denied"),
        (MemoryError(), 1, "error: out of memory; less at a time"),
        (torch.OutOfMemoryError("CUDA out of memory. Tried"), 1, "error: out of memory; less"),
        (ValueError("odd"), 1, "internal error: ValueError: odd (--debug shows where)"),
        (ModuleNotFoundError("No module", name="avpipe.gone"), 1, "internal error"),
    ],
)
def test_errors_are_one_line_and_their_exit_code(
    error: Exception, code: int, line: str, runner: Runner, capsys: pytest.CaptureFixture[str]
) -> None:
    runner(error)
    assert main(["extract", "videos"]) == code
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("avpipe: error: ")
    assert line in captured.err
    assert captured.err.count("\n") == 1


def test_what_cannot_be_read_is_no_fault_of_the_cache(
    runner: Runner,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    secret = tmp_path / "run.json"
    secret.touch()
    monkeypatch.setattr("os.access", lambda path, mode: path != str(secret))  # root reads all
    runner(PermissionError(errno.EACCES, "Permission denied", str(secret)))
    assert main(["extract", "videos"]) == 4
    assert capsys.readouterr().err == f"avpipe: error: {secret}: Permission denied\n"


def test_a_bad_choice_is_told_in_plain_words(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["extract", "videos", "--decoder", "vlc"]) == 2
    assert "'--decoder': 'vlc' is not one of 'ffmpeg', 'pyav'" in capsys.readouterr().err


def test_debug_shows_the_traceback(runner: Runner, capsys: pytest.CaptureFixture[str]) -> None:
    runner(errors.InputError("gone"))
    for words in (["--debug", "extract", "videos"], ["extract", "videos", "--debug"]):
        assert main(words) == 4
        err = capsys.readouterr().err
        assert "Traceback" in err
        assert err.endswith("avpipe: error: gone\n")


def test_what_torch_says_of_a_full_memory_is_told(
    runner: Runner, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(RuntimeError) as raised:
        torch.empty(1 << 60, dtype=torch.uint8)
    runner(raised.value)
    assert main(["extract", "videos"]) == 1
    assert capsys.readouterr().err.startswith("avpipe: error: out of memory; less at a time")


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (["extrct"], "Did you mean 'extract'"),
        (["extract", "--job", "4"], "--jobs"),
        (["extract", "--jobs", "0"], "--jobs"),
        (
            ["--cache", "c", "extract", "v"],
            "error: --cache follows the command: avpipe COMMAND --cache",
        ),
        (["--bogus", "extract"], "No such option: --bogus"),
        (["train", "--epochs", "3"], "error: --epochs is a key of the recipe: --set epochs=VALUE"),
        (["train", "--batch-size=3"], "recipe: --set batch_size=VALUE"),
        (["knn", "--epochs", "3"], "No such option: --epochs"),
        (["extract", "--jobs", "many"], "--jobs"),
        (["extract", "--backend", "threads"], "loky"),
        (["extract", "a", "--part", "4/4"], "--part 4/4"),
        (["extract", "a", "--max-failures", "few"], "--max-failures few"),
        (["extract", "a", "--max-failures", "200%"], "--max-failures 200%: more than 100%"),
        (["extract", "a", "--max-failures", "nan%"], "--max-failures nan%"),
        (["extract", "a", "--max-failures", "inf"], "--max-failures inf"),
        (["extract", "a", "--root", "b", "--root", "c"], "error: --root c: a second folder"),
        *(
            (["extract", "a", f"--{name}", value], f"'--{name}'")
            for name in ("segment", "timeout", "audio-seconds")
            for value in ("inf", "nan", "1e9", "-1", "0")
        ),
        (["extract", "a", "--audio-seconds", "601"], "less than or equal to 600"),
        (["extract", "a", "--retry-failed", "timeout"], "write --retry-failed=timeout"),
        (["localize", "a", "--run", "r", "--out", "o", "--alpha", "nan"], "--alpha"),
        (["synth", "w", "--size", "nan", "nan"], "--size nan,nan"),
        (["extract", "--cache"], "--cache"),
        (["extract", "--config"], "--config"),
        (["drop"], "STAGE"),
        (["extract", "a", "--cache", ""], "an argument is empty"),
        (["train", "--run", ""], "an argument is empty"),
        (["train", "--run="], "--run= is empty"),
    ],
)
def test_usage_errors(words: list[str], part: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 2
    err = capsys.readouterr().err
    assert err.startswith("avpipe: error: ")
    assert part in err
    assert err.count("\n") == 1


@pytest.mark.parametrize("option", [["timeout"], ["--segment", "86400"], ["--timeout=86400"]])
def test_names_and_numbers_that_are_no_errors(option: list[str], runner: Runner) -> None:
    Path("timeout").mkdir()
    given = runner(None)
    assert main(["extract", "videos", "--audio-seconds", "600", "--retry-failed", *option]) == 0
    assert given[0].retry_failed == ""


def test_a_cache_that_may_not_be_read_is_no_usage_error(
    runner: Runner, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    runner(PermissionError(errno.EACCES, "Permission denied", "avcache"))
    Path("avcache").mkdir()
    monkeypatch.setattr(os, "access", lambda *_, **__: False)
    assert main(["extract", "avcache", "--cache", "avcache"]) == 7
    assert "avcache: Permission denied" in capsys.readouterr().err


def test_nothing_to_extract(
    tmp_path: Path, runner: Runner, capsys: pytest.CaptureFixture[str]
) -> None:
    given = runner(None)
    assert main(["extract"]) == 2
    assert "name an INPUT, or set inputs in avpipe.toml" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "avcache" / "manifest").mkdir(parents=True)
    assert main(["extract"]) == 0
    assert given[0].inputs == ()


def test_a_cache_is_not_made_among_other_files(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.mp4").write_bytes(b"no video")
    assert main(["extract", f"{tmp_path}/a.mp4", "--cache", str(tmp_path)]) == 2
    assert f"{tmp_path} holds other files and no cache; name one of" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["a.mp4"]


def test_verify_counts_as_people_do(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.mp4").write_bytes(b"x")
    cache = make_cache(tmp_path / "avcache", ["a"])
    assert main(["verify"]) == 0
    shard = cache / "audio" / "0000000.h5"
    shard.write_bytes(shard.read_bytes()[:-1])
    capsys.readouterr()
    assert main(["verify"]) == 5
    captured = capsys.readouterr()
    assert "avcache: 1 damaged file; `avpipe verify --repair" in captured.err
    (line,) = [line for line in captured.out.splitlines() if line.startswith("damaged")]
    assert line.count("audio/0000000.h5") == 1


def test_no_command_shows_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    assert "Fill the cache:" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        ("extract a --debug", "--debug extract a"),
        ("extract a --config f b", "--config f extract a b"),
        ("extract --config=f", "--config=f extract"),
        ("extract --retry-failed a", "extract --retry-failed= a"),
        ("extract --retry-failed=oom", "extract --retry-failed=oom"),
        ("extract -- --debug --retry-failed", "extract -- --debug --retry-failed"),
    ],
)
def test_normalized(words: str, wanted: str) -> None:
    assert normalized(words.split()) == wanted.split()


def test_interrupts(runner: Runner, capsys: pytest.CaptureFixture[str]) -> None:
    runner(KeyboardInterrupt())
    before = signal.getsignal(signal.SIGTERM)
    assert main(["extract", "videos"]) == 130
    assert capsys.readouterr().err == "avpipe: error: interrupted; the same command resumes\n"
    assert signal.getsignal(signal.SIGTERM) is before


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_signals_end_a_run_that_can_be_resumed(number: signal.Signals, code: int) -> None:
    program = (
        "import signal, sys, time, types\n"
        # a test run in the background inherits a SIGINT that is ignored
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "fake = types.ModuleType('avpipe.pipeline.extract.run')\n"
        "fake.extract = lambda settings: (print('ready', flush=True), time.sleep(60))\n"
        "sys.modules[fake.__name__] = fake\n"
        "from avpipe.pipeline.main import main\n"
        "sys.exit(main(['extract', 'videos']))\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(number)
        _, err = process.communicate(timeout=540)
    assert process.returncode == code
    assert err == "avpipe: error: interrupted; the same command resumes\n"


def test_a_closed_pipe_is_no_error() -> None:
    command = f"{shlex.quote(sys.executable)} -m avpipe --help | true"
    for _ in range(3):
        done = subprocess.run(
            ["bash", "-c", f"{command}; echo ${{PIPESTATUS[0]}}"], capture_output=True, text=True
        )
        assert done.stderr == ""
        assert done.stdout.strip() in ("0", "141")


def test_a_reader_that_is_gone_ends_the_command_quietly() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(
        [sys.executable, "-m", "avpipe", "config"], stdout=writing, stderr=subprocess.PIPE
    )
    os.close(writing)
    assert done.returncode == 141
    assert done.stderr == b""


def test_help_is_fast() -> None:
    times = []
    for _ in range(3):
        start = time.perf_counter()
        subprocess.run([sys.executable, "-m", "avpipe", "--help"], check=True, capture_output=True)
        times.append(time.perf_counter() - start)
    assert (
        min(times) < 3
    )  # a heavy import takes longer; the real limit, 0.3 s, is for a quiet machine


def test_the_spectrogram_kinds_are_those_of_the_front_ends() -> None:
    from avpipe.stages.spectrogram import FRONT_ENDS

    assert set(get_args(Spectrogram)) == set(FRONT_ENDS)


def test_synth_passes_its_options(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import avpipe.stages.synth.run as stage

    values: dict[str, object] = {name: 1 for name in stage.SynthSummary.__dataclass_fields__}
    values |= {"out": Path("w"), "videos": Path("w/videos"), "labels": Path("w/labels.csv")}
    given = []

    def synth(
        out: Path, progress: Callable[[int, int], None], **options: object
    ) -> stage.SynthSummary:
        given.append((out, options))
        for present in (4, 6, 9):
            progress(present, 9)
        return stage.SynthSummary(**values)  # type: ignore[arg-type]

    class Bar:
        """The progress bar, with its totals printed."""

        def __init__(self, label: str, total: int, unit: str, done: int) -> None:
            self.label, self.total, self.unit, self.done = label, total, unit, done

        def __enter__(self) -> "Bar":
            return self

        def __exit__(self, *error: object) -> None:
            pass

        def advance(self, count: int, note: str) -> None:
            self.done += count
            print(f"{self.label} {self.done}/{self.total} {self.unit}{note}", file=sys.stderr)

    monkeypatch.setattr("avpipe.pipeline.watch.Progress", Bar)
    monkeypatch.setattr(stage, "synth", synth)
    words = "synth w --clips 9 --classes 8 --seed 7 --objects 3 --size 0.1 0.2 --test 5 --jobs 2"
    assert main([*words.split(), "--json"]) == 0
    options = {"clips": 9, "classes": 8, "seed": 7, "num_objects": 3, "size": (0.1, 0.2), "jobs": 2}
    options["num_test"] = 5
    assert given == [(Path("w"), options)]
    captured = capsys.readouterr()
    assert json.loads(captured.out)["videos"] == "w/videos"
    assert captured.err == "synth 6/9 clips\nsynth 9/9 clips\n"


def test_standard_output_may_be_closed(tmp_path: Path) -> None:
    command = f'exec "{sys.executable}" -m avpipe status --cache nothing >&-'
    done = subprocess.run(["sh", "-c", command], cwd=tmp_path, stderr=subprocess.PIPE, text=True)
    assert (done.returncode, done.stderr.count("\n")) == (4, 1), done.stderr
    done = subprocess.run(["sh", "-c", f'"{sys.executable}" -m avpipe config >&-'], cwd=tmp_path)
    assert done.returncode == 0
