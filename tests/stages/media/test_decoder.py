"""The decoder process: what it returns, and that nothing it does hurts its parent."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from avpipe.errors import AvpipeError, ClipError
from avpipe.stages.features import FeatureParams, make_row
from avpipe.stages.workers.decoder import DecoderChild
from media_factory import write_clip

HOSTILE = (sys.executable, str(Path(__file__).parents[2].joinpath("hostile_child.py")))


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(write_clip(tmp_path_factory.mktemp("clips") / "a.mp4", seconds=1.0))


@pytest.fixture
def child() -> Iterator[DecoderChild]:
    with DecoderChild(FeatureParams()) as decoder:
        yield decoder


@pytest.fixture
def hostile() -> Iterator[DecoderChild]:
    with DecoderChild(
        FeatureParams(), timeout_s=30.0, memory_bytes=1 << 29, command=HOSTILE
    ) as decoder:
        yield decoder


def test_the_same_row_as_in_process(child: DecoderChild, clip: str) -> None:
    row, expected = child.row({"path": clip}), make_row(clip)
    assert row.keys() == expected.keys()
    for key, value in expected.items():
        if isinstance(value, np.ndarray):
            np.testing.assert_array_equal(row[key], value)
            assert row[key].dtype == value.dtype
        else:
            assert row[key] == value
            assert type(row[key]) is type(value)


def test_parameters_and_places_reach_the_child(clip: str, tmp_path: Path) -> None:
    params = FeatureParams(spectrogram="16k-257x200", audio_seconds=2.0, decoder="ffmpeg")
    line = {"path": clip, "start_s": 0.1, "seconds": 0.6, "id": "x", "root": 0}
    with DecoderChild(params) as decoder:
        row = decoder.row(line)
    assert row["spectrogram_wide"].shape == (257, 386)
    assert row["frame_pts_s"] == pytest.approx(0.4)
    assert len(row["waveform"]) == pytest.approx(0.6 * 32000, abs=2)


def test_durations(child: DecoderChild, clip: str, tmp_path: Path) -> None:
    assert child.duration(clip) == 1.0
    with pytest.raises(ClipError, match="missing"):
        child.duration(str(tmp_path / "gone.mp4"))


def test_names_that_are_not_utf8(child: DecoderChild, clip: str, tmp_path: Path) -> None:
    name = tmp_path / b"\xff\xfe \n.mp4".decode(errors="surrogateescape")
    name.write_bytes(Path(clip).read_bytes())
    assert child.row({"path": str(name)})["duration_s"] == 1.0


def test_reasons_come_back_and_the_child_stays(
    child: DecoderChild, clip: str, tmp_path: Path
) -> None:
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "text.mp4").write_text("hello")
    child.row({"path": clip})
    pid = child.pid
    for name, reason in (("gone", "missing"), ("empty", "empty"), ("text", "not_media")):
        with pytest.raises(ClipError) as caught:
            child.row({"path": str(tmp_path / f"{name}.mp4")})
        assert caught.value.reason == reason
    assert child.pid == pid


def test_a_rejection_gives_way_to_what_comes_before_it(
    child: DecoderChild, clip: str, tmp_path: Path
) -> None:
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "text.mp4").write_text("hello")
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(Path(clip).read_bytes()[:5000])
    mute = write_clip(tmp_path / "mute.mp4", audio=None, seconds=1.0)
    for path, reason in (
        (tmp_path / "gone.mp4", "missing"),
        (tmp_path / "empty.mp4", "empty"),
        (tmp_path / "text.mp4", "not_media"),
        (cut, "duplicate_id"),
        (mute, "duplicate_id"),
        (clip, "duplicate_id"),
    ):
        with pytest.raises(ClipError) as caught:
            child.row({"path": str(path), "reject": "duplicate_id"})
        assert caught.value.reason == reason


@pytest.mark.parametrize(
    ("name", "reason", "detail"),
    [
        ("abort", "crashed", "SIGABRT"),
        ("segfault", "crashed", "SIGSEGV"),
        ("exit", "crashed", "exit code 3"),
        ("bug", "crashed", "KeyError"),
        ("garbage", "crashed", ""),
        ("eat", "oom", ""),
        ("eat in C", "oom", ""),
        ("take", "decode_error", "it took all"),
    ],
)
def test_a_misbehaving_clip_costs_one_clip(
    hostile: DecoderChild, clip: str, name: str, reason: str, detail: str
) -> None:
    with pytest.raises(ClipError) as caught:
        hostile.row({"path": f"/nowhere/{name}"})
    assert caught.value.reason == reason
    assert detail in caught.value.detail
    assert hostile.row({"path": clip})["duration_s"] == 1.0


def test_a_hang_in_c_ends_by_the_clock(clip: str) -> None:
    with DecoderChild(FeatureParams(), timeout_s=1.0, command=HOSTILE) as hostile:
        hostile.row({"path": clip})
        pid = hostile.pid
        assert pid is not None
        began = time.monotonic()
        with pytest.raises(ClipError, match="timeout: no answer within 1 s"):
            hostile.row({"path": "/nowhere/hang"})
        assert time.monotonic() - began < 10
        assert not _alive(pid)
        assert hostile.row({"path": clip})["duration_s"] == 1.0


def test_stray_output_is_not_an_answer(hostile: DecoderChild, clip: str) -> None:
    folder, name = os.path.split(clip)
    assert hostile.row({"path": f"{folder}/print/{name}"})["duration_s"] == 1.0
    with pytest.raises(ClipError, match="missing"):
        hostile.row({"path": "/nowhere/print"})


def test_a_child_killed_while_idle_costs_nothing(child: DecoderChild, clip: str) -> None:
    expected = child.row({"path": clip})
    for _ in range(3):
        assert child.pid is not None
        os.kill(child.pid, signal.SIGKILL)
        assert child.row({"path": clip})["frame_jpeg"] == expected["frame_jpeg"]


def test_a_child_killed_while_it_starts_costs_nothing(clip: str, tmp_path: Path) -> None:
    killed = tmp_path / "killed"
    program = (
        "import os, pathlib, runpy, sys\n"
        f"killed = pathlib.Path({str(killed)!r})\n"
        "if not killed.exists():\n"
        "    killed.touch()\n"
        "    os.kill(os.getpid(), 9)\n"
        "runpy.run_module('avpipe.stages.workers.decoder', run_name='__main__')\n"
    )
    with DecoderChild(FeatureParams(), command=(sys.executable, "-c", program)) as child:
        assert child.row({"path": clip})["frame_jpeg"]
    assert killed.exists()


def test_a_child_that_cannot_start_is_no_clips_fault(clip: str) -> None:
    command = (sys.executable, "-c", "raise SystemExit('no such module: av')")
    with (
        DecoderChild(FeatureParams(), command=command) as child,
        pytest.raises(AvpipeError, match="does not start: no such module: av"),
    ):
        child.row({"path": clip})


def test_a_child_that_may_open_no_files_is_the_systems_fault(clip: str) -> None:
    command = (sys.executable, "-c", "raise OSError(24, 'Too many open files')")
    with (
        DecoderChild(FeatureParams(), command=command) as child,
        pytest.raises(OSError, match="Too many open files: 'the decoder process'"),
    ):
        child.row({"path": clip})


PARENT = """
import os, sys
from avpipe.stages.workers.decoder import DecoderChild
from avpipe.stages.features import FeatureParams
child = DecoderChild(FeatureParams(), timeout_s=1000, command=sys.argv[2:])
child.row({"path": sys.argv[1]})
print(child.pid, flush=True)
child.row({"path": "/nowhere/hang"})
"""


def test_the_child_dies_with_its_parent_even_while_it_hangs(clip: str) -> None:
    command = [sys.executable, "-c", PARENT, clip, *HOSTILE]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        time.sleep(0.3)
        assert _alive(pid)
        parent.kill()
    deadline = time.monotonic() + 300
    while _alive(pid) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not _alive(pid)


def test_closing_ends_the_child(clip: str) -> None:
    child = DecoderChild(FeatureParams())
    child.row({"path": clip})
    pid = child.pid
    assert pid is not None
    child.close()
    child.close()
    assert not _alive(pid)
    assert child.pid is None


def test_the_child_imports_nothing_heavy() -> None:
    code = "import sys, avpipe.stages.features, avpipe.stages.workers.decoder; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.split()
    assert not {"torch", "librosa", "h5py", "matplotlib", "scipy", "ffmpeg"} & set(loaded)


def test_a_file_in_the_current_folder_is_not_imported(
    clip: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "numpy.py").write_text("raise SystemExit('not numpy')")
    monkeypatch.chdir(tmp_path)
    with DecoderChild(FeatureParams()) as child:
        assert child.row({"path": clip})["duration_s"] == 1.0


def test_memory_stays_flat(clip: str) -> None:
    with DecoderChild(FeatureParams()) as child:
        sizes = []
        for _ in range(4):
            for _ in range(30):
                child.row({"path": clip})
            status = Path(f"/proc/{child.pid}/status").read_text()
            sizes.append(int(status.split("RssAnon:")[1].split()[0]))
    assert sizes[-1] < sizes[1] * 1.05


def _alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"
