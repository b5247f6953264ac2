"""`avpipe doctor`: what is broken is told with what mends it, and stops nothing else."""

from __future__ import annotations

import errno
import json
import os
import re
import shlex
import socket
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from threading import Event
from typing import Any

import pytest
from avpipe.machine import core_quota, memory_limit
from avpipe.pipeline.doctor import decoding
from avpipe.pipeline.doctor import folder as doctor_folder
from avpipe.pipeline.doctor.finding import Check, ok
from avpipe.pipeline.doctor.machine import WORKER_BYTES, check_memory
from avpipe.pipeline.doctor.packages import TESTED, check_gpu, check_torch, is_in_range, probe
from avpipe.pipeline.doctor.run import check_text, doctor, verdict_text
from avpipe.pipeline.main import main
from avpipe.stages.media import decode_clip
from cache_factory import add_values, make_cache
from command_pages import section
from fake_clips import publish_manifest
from media_factory import read_number, write_clip
from packaging.specifiers import SpecifierSet

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setenv("AVPIPE_WEIGHTS_DIR", str(tmp_path / "weights"))
    return tmp_path / "here"


@pytest.fixture
def few_checks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out the checks that start processes."""
    monkeypatch.setattr(
        "avpipe.pipeline.doctor.run.check_packages", lambda: [ok("packages", "fine")]
    )
    monkeypatch.setattr("avpipe.pipeline.doctor.run.broken_among", lambda names: set())
    monkeypatch.setattr("avpipe.pipeline.doctor.run._decoders", list)


def write_module(folder: Path, name: str, code: str) -> None:
    (folder / name).mkdir(parents=True)
    (folder / name / "__init__.py").write_text(code)


def by_name(document: Any) -> dict[str, dict[str, str]]:
    return {check["name"]: check for check in document["checks"]}


def test_a_broken_torch_stops_no_other_check(tmp_path: Path) -> None:
    told = "OSError('libcudart.so.13:\\n cannot open shared object file')"
    write_module(tmp_path / "broken", "torch", f"raise {told}")
    write_module(tmp_path / "broken", "transformers", "import os\nos.abort()")
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "broken")}
    done = subprocess.run(
        [sys.executable, "-m", "avpipe", "doctor", "--json"],
        capture_output=True, text=True, env=environment, timeout=540,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (6, "")
    document = json.loads(done.stdout)
    assert document["schema"] == "avpipe.doctor/1"
    assert list(tmp_path.joinpath("here").iterdir()) == []
    checks = [(check["name"], check["state"]) for check in document["checks"]]
    broken = [name for name, state in checks if state == "problem"]
    assert broken == ["torch", "torchaudio", "torchvision", "transformers"]
    assert document["problems"] == 4
    first, *_ = [check for check in document["checks"] if check["state"] == "problem"]
    assert first["found"].endswith("OSError: libcudart.so.13: cannot open shared object file")
    assert first["advice"] == "pip install torch==2.11.0 torchvision==0.26.0 torchaudio==2.11.0"
    crashed = by_name(document)["transformers"]
    assert "ended the process that imported it" in crashed["found"]
    assert crashed["advice"].startswith('pip install --upgrade "transformers>=')
    assert (
        ("decoder", "ok") in checks and ("isolation", "ok") in checks and ("cache", "ok") in checks
    )
    assert "19 of 23 packages import" in by_name(document)["packages"]["found"]


def test_imports_that_crash_exit_or_chatter_are_told_apart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    write_module(tmp_path, "chatters", "print('{\"module\": ', end='')\nprint('hello')")
    write_module(tmp_path, "exits", "raise SystemExit(3)")
    write_module(tmp_path, "dies", "import os, signal\nos.kill(os.getpid(), signal.SIGSEGV)")
    write_module(tmp_path, "fine", "")
    names = ["exits", "dies", "fine", "nowhere", "dies"]
    errors = [result["error"] for result in probe(names)]
    assert errors[0] == "SystemExit: 3"
    assert errors[1] == errors[4] == "ended the process that imported it (exit status -11)"
    assert errors[2] == ""
    assert errors[3] == "ModuleNotFoundError: No module named 'nowhere'"


@pytest.mark.parametrize("wanted", [">=2.6", ">=16,<20", ">=0.4.3", ">=0.26", "<3", ""])
@pytest.mark.parametrize(
    "version", ["2.6", "2.5.9", "2.11.0+cu130", "16", "15.9", "20.0", "19.9.9", "0.4", "0.4.3", "3"]
)
def test_ranges_are_those_of_packaging(version: str, wanted: str) -> None:
    assert is_in_range(version, wanted) == SpecifierSet(wanted).contains(version)


def test_the_three_that_belong_together_are_those_that_are_tested() -> None:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    assert all(f"{name}=={version}" in lines for name, version in TESTED.items())
    assert check_torch(TESTED, "2.11.0").state == "ok"
    assert "as tested" in check_torch({**TESTED, "torch": "2.11.0+cu130"}, "2.11.0").found
    others = {"torch": "2.7.1", "torchvision": "0.22.1", "torchaudio": "2.7.1"}
    assert "as tested" not in check_torch(others, "2.7.1").found
    assert check_torch(others, "2.7.1").state == "ok"
    for broken, pin in (
        ({**TESTED, "torch": "2.10.0"}, "2.11.0"),
        ({**TESTED, "torchaudio": "2.10.0"}, "2.11.0"),
        ({**TESTED, "torchvision": ""}, ""),
    ):
        assert check_torch(broken, pin).state == "problem"
        assert check_torch(broken, pin).exit_code == 6


def test_a_gpu_that_is_not_used_is_explained() -> None:
    none: dict[str, Any] = {"built_for": "13.0", "usable": False, "devices": [], "why_not": ""}
    assert check_gpu(none, has_driver=False).state == "ok"
    old = check_gpu({**none, "why_not": "The NVIDIA driver is too old"}, has_driver=True)
    assert (old.state, old.found.endswith("driver is too old")) == ("warning", True)
    hidden = check_gpu(none, has_driver=True)
    assert "CUDA_VISIBLE_DEVICES" in hidden.found
    without = check_gpu({**none, "built_for": None}, has_driver=True)
    assert "without CUDA" in without.found and "pip install torch==" in without.advice
    device = {"name": "GPU of 2030", "bytes": 80_000_000_000}
    there = check_gpu({**none, "usable": True, "devices": [device]}, has_driver=True)
    assert (there.state, "GPU of 2030 (80.0 GB)" in there.found) == ("ok", True)


@pytest.mark.parametrize(
    ("video", "audio", "suffix"),
    [
        ("libx264", "aac", "mp4"),
        ("libx265", "libmp3lame", "mp4"),
        ("libvpx", "libvorbis", "webm"),
        ("libvpx-vp9", "libopus", "webm"),
        ("libsvtav1", "libopus", "mkv"),
    ],
)
def test_codecs_that_are_told_are_decoded(
    video: str, audio: str, suffix: str, tmp_path: Path
) -> None:
    fast = ["-deadline", "realtime"] if "vpx" in video else ["-preset", "8"]
    options = ["-c:v", video, *(fast if "x26" not in video else ["-preset", "ultrafast"])]
    write_clip(
        tmp_path / f"clip.{suffix}", seconds=0.4, rate_hz=48000,
        video=[*options, "-pix_fmt", "yuv420p"], audio=["-c:a", audio],
    )  # fmt: skip
    clip = decode_clip(str(tmp_path / f"clip.{suffix}"))
    assert read_number(clip.frame) == 5  # also where that one is left out by NONREF
    assert clip.waveform.std() > 0.01


def test_codecs_that_are_missing_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    (whole,) = decoding.check_decoder()[:1]
    assert whole.state == "ok" and "AV1, AAC, MP3, Vorbis, Opus" in whole.found
    monkeypatch.setitem(decoding.CODECS, "AV1", ("libnowhere",))
    monkeypatch.setattr(decoding, "_decode_made_clip", lambda: 0.1)
    lacking = decoding.check_decoder()[0]
    assert (lacking.state, "lacks AV1:" in lacking.found) == ("warning", True)
    program = decoding.check_program()
    assert (program.state, "lacks AV1:" in program.found) == ("warning", True)


def refuse(*_: object) -> None:
    raise OSError(errno.EPERM, "Operation not permitted")


def test_the_cache_is_tried_and_left_as_it_was(tmp_path: Path) -> None:
    (check,) = doctor_folder.check_folder(tmp_path / "not" / "yet")
    assert (check.state, "not there yet" in check.found) == ("ok", True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["here"]
    (file := tmp_path / "file").touch()
    (check,) = doctor_folder.check_folder(file / "cache")
    assert (check.state, check.exit_code) == ("problem", 7)


def test_a_file_system_without_links_or_locks_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    killed = tmp_path / f".scratch.{socket.gethostname()}.999999999.0123abcd"
    killed.mkdir()
    doctor_folder.check_folder(tmp_path)
    assert not killed.exists()  # what a doctor that was killed left
    with monkeypatch.context() as patch:
        patch.setattr("fcntl.flock", refuse)
        (check,) = doctor_folder.check_folder(tmp_path)
        assert (check.state, "no locks (Operation not permitted)" in check.found) == (
            "warning",
            True,
        )
    with monkeypatch.context() as patch:
        patch.setattr("fcntl.flock", lambda *_: None)  # a lock that does nothing
        (check,) = doctor_folder.check_folder(tmp_path)
        assert "no locks (two held one lock)" in check.found
    with monkeypatch.context() as patch:
        patch.setattr("os.link", refuse)
        (check,) = doctor_folder.check_folder(tmp_path)
        assert (check.state, check.exit_code) == ("problem", 7)
        assert "lacks hard links: Operation not permitted" in check.found
    with monkeypatch.context() as patch:
        patch.setattr("pathlib.Path.mkdir", refuse)
        (check,) = doctor_folder.check_folder(tmp_path)
        assert "cannot be written: Operation not permitted" in check.found


def test_the_kind_of_file_system_is_that_of_df(tmp_path: Path) -> None:
    for folder in (tmp_path, Path("/proc"), Path("/dev/shm")):
        shown = subprocess.run(["stat", "-f", "-c", "%T", folder], capture_output=True, text=True)
        kind = {"ext2/ext3": "ext4", "overlayfs": "overlay"}.get(shown.stdout.strip())
        assert doctor_folder.kind_of(folder) == (kind or shown.stdout.strip())


def test_what_is_left_to_do_is_compared_with_what_is_free(
    tmp_path: Path,
) -> None:
    (tmp_path / "videos").mkdir()
    write_clip(tmp_path / "videos/a.mp4", seconds=1.0)
    options = ["--cache", str(tmp_path / "cache")]
    (whole,) = doctor_folder.check_space(tmp_path / "cache", ["../videos"], options)
    assert whole.state == "ok" and "clips to extract: 1, " in whole.found
    assert "hints/detr-r50 takes 200.7 kB more" in whole.found  # 2048 x 7 x 7 float16
    assert not (tmp_path / "cache").exists()


def test_what_does_not_fit_is_told() -> None:
    plan, hints = {"new": 3, "pending": 4, "bytes_out": 7000, "seconds": 5}, {"hints/x": 3000}
    found = {free: doctor_folder._space(free, plan, hints) for free in (9999, 10_100, 12_000)}
    assert [check.state for check in found.values()] == ["problem", "warning", "ok"]
    assert [check.exit_code for check in found.values()] == [7, 0, 0]
    assert "free 1 B" in found[9999].advice
    told = "12.0 kB free; clips to extract: 7, 7.0 kB, about 5.0 s; hints/x takes 3.0 kB more"
    assert found[12_000].found == told


def test_hints_are_counted_by_what_they_took(tmp_path: Path) -> None:
    cache = make_cache(tmp_path / "cache", 20)
    assert doctor_folder._bytes_of_hints(cache.path, 5) == {"hints/detr-r50": 25 * 200_704}
    add_values(cache, "hints/panns-wavegram", (24,))
    (made,) = doctor_folder._bytes_of_hints(cache.path, 5).items()
    size = sum(path.stat().st_size for path in (cache.path / "hints").rglob("*.h5"))
    assert made == ("hints/panns-wavegram", round(size / 20 * 5))
    assert doctor_folder._space(10**9, {"new": 0, "pending": 0, "bytes_out": 0}, {}).found == (
        "1.0 GB free; nothing is left to make"
    )


def test_extract_that_would_stop_is_told(tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    publish_manifest(cache, ["a", "b"])
    segment = cache / "manifest/0000.jsonl"
    segment.write_bytes(segment.read_bytes().replace(b"a", b"x"))
    (cache / "manifest/0000.jsonl.copy").unlink(missing_ok=True)
    (check,) = doctor_folder.check_space(cache, [], ["--cache", str(cache)])
    assert (check.state, check.exit_code) == ("problem", 5)
    assert "avpipe extract would stop: " in check.found and "0000.jsonl" in check.found


def test_what_a_container_grants_is_read_of_both_versions(tmp_path: Path) -> None:
    own = tmp_path / "own"
    two = tmp_path / "two"
    (two / "job" / "step").mkdir(parents=True)
    own.write_text("0::/job/step\n")
    assert core_quota(two, own) is None and memory_limit(two, own) is None
    (two / "job" / "step" / "cpu.max").write_text("max 100000\n")
    (two / "job" / "cpu.max").write_text("150000 100000\n")
    (two / "job" / "memory.max").write_text("4000000000\n")
    (two / "job" / "step" / "memory.max").write_text("max\n")
    assert (core_quota(two, own), memory_limit(two, own)) == (1.5, 4_000_000_000)
    one = tmp_path / "one"
    for name, files in {
        "cpu": {"cpu.cfs_quota_us": "200000", "cpu.cfs_period_us": "100000"},
        "memory": {"memory.limit_in_bytes": "9223372036854771712"},
        "memory/job": {"memory.limit_in_bytes": "1000000000"},
    }.items():
        (one / name).mkdir(parents=True)
        for file, content in files.items():
            (one / name / file).write_text(content + "\n")
    own.write_text("4:memory:/job\n3:cpu,cpuacct:/\n")
    (one / "cpu").rename(one / "cpu,cpuacct")
    (one / "cpu").symlink_to("cpu,cpuacct")
    assert (core_quota(one, own), memory_limit(one, own)) == (2.0, 1_000_000_000)
    (one / "cpu/cpu.cfs_quota_us").write_text("-1\n")
    assert core_quota(one, own) is None
    assert core_quota(one, tmp_path / "nowhere") is None


def test_more_workers_than_memory_are_warned_of(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "avpipe.pipeline.doctor.machine.known_free_bytes", lambda: 3 * WORKER_BYTES + 1000
    )
    monkeypatch.setattr("avpipe.pipeline.doctor.machine.memory_limit", lambda: None)
    assert check_memory(3)[0].state == "ok"
    (check,) = check_memory(4)
    assert (check.state, check.advice) == ("warning", "export AVPIPE_JOBS=3")


@pytest.mark.usefixtures("few_checks")
def test_wrong_settings_are_told_and_not_in_the_way(
    empty_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (empty_folder / "avpipe.toml").write_text('cahce = "x"\n')
    assert main(["doctor", "--json"]) == 2
    document = json.loads(capsys.readouterr().out)
    settings = by_name(document)["settings"]
    assert settings["state"] == "problem" and "did you mean cache?" in settings["found"]
    assert by_name(document)["cache"]["state"] == "ok"
    assert main(["status"]) == 2  # to every other command they are an error
    (empty_folder / "avpipe.toml").write_text('cache = "elsewhere"\n')
    assert main(["doctor"]) == 0
    told = capsys.readouterr().out
    assert "avpipe.toml is valid" in told and "elsewhere" in told


@pytest.mark.usefixtures("few_checks")
def test_the_commands_of_the_page_run_and_every_line_is_explained(
    empty_folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = (ROOT / "docs/troubleshooting.md").read_text(encoding="utf-8")
    page = section(whole, "What this machine has and lacks")
    commands = re.findall(r"(?m)^\$ avpipe (doctor.*)$", page)
    assert len(commands) == 4
    monkeypatch.setattr("avpipe.pipeline.doctor.folder.existing", lambda path: empty_folder)
    asked: list[Sequence[str]] = []
    monkeypatch.setattr(
        "avpipe.pipeline.doctor.run.check_space", lambda *words: asked.append(words[1]) or []
    )
    for command in commands:
        assert main(shlex.split(command, comments=True)) == 0
        assert capsys.readouterr().out
    assert asked == [(), (), ("videos",), ()]
    explained = re.findall(r"(?m)^\| (\w+) \|", page)[1:]
    named = ["settings", "decoder", "isolation", "ffmpeg", "cache", "space", "cores", "memory"]
    assert explained == [*named, "weights", "packages", "torch", "faiss", "GPU"]


def look_at(cache: Path, tell: Callable[[Check], None] | None = None) -> dict[str, Any]:
    found = doctor(cache, jobs=1, inputs=(), settings_file=None, settings_error="", tell=tell)
    return dict(found)


@pytest.mark.usefixtures("few_checks")
def test_weights_are_a_warning_and_wrong_ones_a_problem(tmp_path: Path) -> None:
    def look() -> tuple[int, dict[str, str]]:
        document = look_at(tmp_path / "cache")
        return document["exit_code"], by_name(document)["weights"]

    code, missing = look()
    assert (code, missing["state"]) == (0, "warning")
    assert missing["advice"].startswith("avpipe weights fetch")
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights/Cnn14_mAP=0.431.pth").write_bytes(b"another file")
    code, wrong = look()
    assert (code, wrong["state"], wrong["advice"]) == (6, "problem", "avpipe weights verify")
    assert "Cnn14_mAP=0.431.pth" in wrong["found"]


@pytest.mark.usefixtures("few_checks")
def test_each_check_is_told_when_it_is_done_and_packages_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    waiting = Event()

    def imports() -> list[Check]:
        assert waiting.wait(500)
        return [ok("packages", "fine")]

    def tell(check: Check) -> None:
        told.append(check.name)
        if check.name == "weights":
            waiting.set()

    told: list[str] = []
    monkeypatch.setattr("avpipe.pipeline.doctor.run.check_packages", imports)
    document = look_at(tmp_path / "cache", tell)
    assert told == ["settings", "cache", "space", "cores", "memory", "weights", "packages"]
    assert list(by_name(document)) == told


@pytest.mark.usefixtures("few_checks")
def test_a_check_that_breaks_is_a_problem_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def breaks(*_: object) -> list[Check]:
        raise RuntimeError("out of order")

    monkeypatch.setattr("avpipe.pipeline.doctor.run.check_cores", breaks)
    document = look_at(tmp_path / "cache")
    assert by_name(document)["cores"]["found"] == "RuntimeError: out of order"
    assert document["exit_code"] == 1 and "weights" in by_name(document)


def test_the_text_is_narrow_and_aligned() -> None:
    checks = [
        Check("cache", "ok", "words " * 40),
        Check("transformers", "problem", "broken " * 30, 'pip install "a>=1" ' * 9, 6),
        Check("weights", "warning", "x" * 100),
    ]
    assert verdict_text({"problems": 1, "warnings": 1}) == "1 problem, 1 warning"
    lines = "\n".join(map(check_text, checks)).splitlines()
    assert all(len(line) <= 80 for line in lines if "xx" not in line)
    assert "x" * 100 in lines[-1]  # a path is never cut
    indented = [line for line in lines if line.startswith(" ")]
    assert indented and all(line[:23].isspace() for line in indented)
    assert sum(line.lstrip().startswith("do: ") for line in lines) == 1
