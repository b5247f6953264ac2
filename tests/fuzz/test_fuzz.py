"""The program that damages media files: it damages, it notices, and what it found stays fixed."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from random import Random

import pytest
from avpipe.stages.features import FeatureParams
from fuzz.findings import FINDINGS
from fuzz.judge import Judge
from fuzz.mutate import BAIT, Mutator
from fuzz.pieces import pieces, walk
from fuzz.recipe import Edit, Recipe, _ogg_sum, with_sums
from fuzz.run import Fuzzer, fuzz
from fuzz.seeds import SOUNDS, VIDEOS, pictures, seed, videos, written

CHILD = Path(__file__).with_name("hostile_fuzz_child.py")
SOME = (
    "mp4-mpeg4-libmp3lame", "mkv-ffv1-flac", "avi-mpeg4-libmp3lame", "flv-flv-libmp3lame",
    "ts-mpeg2video-mp2", "ogv-libvpx-libopus", "wav-pcm_s16le", "flac-flac", "mp3-libmp3lame",
    "jpg", "png",
)  # fmt: skip


@pytest.fixture(scope="module")
def judge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Judge]:
    with Judge(tmp_path_factory.mktemp("inputs"), FeatureParams()) as made:
        yield made


@pytest.mark.parametrize("name", FINDINGS)
def test_what_was_found_stays_fixed(name: str, judge: Judge) -> None:
    outcome = judge.judge(FINDINGS[name].recipe)
    assert (outcome.wrong, outcome.reason) == ("", FINDINGS[name].ends)


def test_seeds_are_of_many_codecs_and_containers_and_decode(judge: Judge) -> None:
    made = videos()
    used = [one for one in VIDEOS if one.name in made]
    assert len({one.video for one in used}) >= 31 and len({one.muxer for one in used}) >= 9
    assert len({one.audio for one in (*used, *SOUNDS)}) >= 20
    few = [one.name for one in used if one.size == (64, 64)][::7]
    for name in few:
        assert judge.judge(Recipe(name), made).reason == "done", name


def test_a_recipe_is_the_same_file_again() -> None:
    random, data = Random(5), seed(SOME[0])
    mutator = Mutator(random, {name: seed(name) for name in SOME}, "/nowhere")
    for name in SOME:
        edits: list[Edit] = []
        data = seed(name)
        for _ in range(8):
            edits += mutator.edits(data)
            data = Recipe(name, tuple(edits)).content()
        recipe = Recipe(name, tuple(edits), summed=True, ask=(("start_s", 0.1),))
        again = Recipe.of_json(json.loads(json.dumps(recipe.as_json())))
        assert again == recipe and again.content() == recipe.content() == with_sums(data)


@pytest.mark.parametrize("name", SOME)
def test_pieces_cover_a_file(name: str) -> None:
    """Piece after piece, without holes; those inside lie inside, sizes say how long they are."""
    data = seed(name)
    found = pieces(data)
    assert len(found) > 1 or found[0].inside
    for before, after in pairwise(found):
        assert before.end <= after.begin <= before.end + 1
    assert found[-1].end == len(data)
    for path in walk(found):
        piece = path[-1]
        assert piece.begin <= piece.body <= piece.end
        for outer in path[:-1]:
            assert outer.begin <= piece.begin and piece.end <= outer.end
        if piece.counts == "whole":
            assert int.from_bytes(data[slice(*piece.size)], "big") == piece.end - piece.begin


def test_checksums_of_untouched_files_are_right() -> None:
    for name in ("ogv-libvpx-libopus", "png"):
        assert with_sums(seed(name)) == seed(name)


def test_the_sum_of_a_page_is_that_of_its_bits() -> None:
    """One bit after another: a division by 0x04c11db7 (RFC 3533, section 6)."""
    for page in (b"", b"\0", b"OggS", Random(0).randbytes(300)):
        value = 0
        for bit in f"{int.from_bytes(page, 'big'):0{8 * len(page)}b}" if page else "":
            value ^= int(bit) << 31
            value = value << 1 & 0xFFFFFFFF ^ (0x04C11DB7 if value & 0x80000000 else 0)
        assert _ogg_sum(page) == value


@pytest.mark.parametrize(
    ("does", "wrong"),
    [
        ("segfault", "crashed: the decoder ended: SIGSEGV"),
        ("bug", "crashed: KeyError: 'a mistake of ours'"),
        ("bait", f"opened {BAIT}"),
        ("write", "opened left-behind"),
        ("no JPEG", "a JPEG that is none"),
        ("NaN", "a row that is not sane"),
        ("missing", "missing: gone"),
        ("path", "a detail that is none"),
        ("greedy", "much memory"),
        ("busy", "slow: done"),
    ],
)
def test_what_must_not_happen_is_noticed(
    does: str, wrong: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a decoder's process that does it."""
    monkeypatch.setattr("fuzz.judge.SLOW_S", 0.3)
    monkeypatch.setattr("fuzz.judge.MUCH_BYTES", 400 << 20)
    command = (sys.executable, str(CHILD), does)
    with Judge(tmp_path / "in", FeatureParams(), command) as judge:
        recipe = Recipe("mp4-mpeg4-libmp3lame")
        if does == "busy":  # a process that has just started has been busy with that
            judge.judge(recipe)
        assert judge.judge(recipe).wrong.startswith(wrong)


def test_a_run_writes_totals_that_add_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Fuzzer, "__init__", _few_seeds(Fuzzer.__init__))
    for number in (1, 2):
        totals = fuzz(number, 0.6, tmp_path, FeatureParams())
    written = json.loads((tmp_path / "totals.json").read_text())
    assert written == totals.data and [run["seed"] for run in written["runs"]] == [1, 2]
    assert written["inputs"] == sum(run["inputs"] for run in written["runs"]) > 0
    assert written["inputs"] == sum(written["reasons"].values())
    assert all(run["findings"] == [] for run in written["runs"])


def _few_seeds(init):  # type: ignore[no-untyped-def]
    def few(self, number, folder):  # type: ignore[no-untyped-def]
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("fuzz.run.videos", lambda: {name: seed(name) for name in SOME[:2]})
            patch.setattr("fuzz.run.sounds", lambda: {name: seed(name) for name in SOME[6:7]})
            init(self, number, folder)

    return few


@pytest.mark.skipif(shutil.which("strace") is None, reason="no strace here")
def test_system_calls_open_the_input_alone(tmp_path: Path) -> None:
    """Also in C, by all calls that open, connect or start: of damaged files, and of lures."""
    log = tmp_path / "trace"
    calls = "open,openat,openat2,creat,connect,socket,execve,unlink,rename,mkdir,link,symlink"
    command = ("strace", "-D", "-f", "-qq", "-y", "-e", f"trace={calls}", "-o", str(log),
               sys.executable, "-m", "avpipe.stages.workers.decoder")  # fmt: skip
    folder = tmp_path / "in"
    seeds = {name: seed(name) for name in SOME}
    mutator = Mutator(Random(3), seeds, str(folder))
    with Judge(folder, FeatureParams(), command) as judge:
        for name in SOME[:6]:
            judge.judge(Recipe(name), seeds)  # what is imported late is imported now
        begin = log.stat().st_size
        for number in range(60):
            name = SOME[number % 6]
            tree = list(walk(pieces(seeds[name])))
            few = [path for path in tree if path[-1].end - path[-1].begin < 2000]
            path = mutator._random.choice(few)
            edits = (
                mutator.reference(seeds[name], path) if number % 3 else mutator.told(seeds[name])
            )
            assert judge.judge(Recipe(name, tuple(edits)), seeds).wrong == ""
        lines = log.read_bytes()[begin:].decode(errors="replace").splitlines()
    asked = [line for line in lines if re.search(r"\b(open\w*|creat|connect|execve)\(", line)]
    assert len(asked) >= 60
    strange = [line for line in asked if f"{folder}/input." not in line]
    assert strange == []


def test_pictures_are_of_every_kind_that_is_read() -> None:
    assert {name.partition("-")[0] for name in pictures()} == {
        "jpg", "png", "webp", "gif", "tiff", "bmp", "ppm"
    }  # fmt: skip


def test_the_program(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "fuzz.run", "--minutes", "0", "--seed", "9"]
    variables = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    done = subprocess.run(
        [*command, "--folder", tmp_path], capture_output=True, text=True, check=True, env=variables
    )
    assert done.stdout.startswith("seed 9: 0 inputs")


def test_seeds_leave_the_priority_as_it_was() -> None:
    before = os.sched_getscheduler(0)
    for one in VIDEOS:
        if one.video == "libsvtav1":
            assert written(one)
    assert os.sched_getscheduler(0) == before
