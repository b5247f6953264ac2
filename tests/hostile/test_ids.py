"""Ids that would act: on a terminal, a file system, a spreadsheet. Each names its own file."""

from __future__ import annotations

import csv
import json
import tarfile
from pathlib import Path

import pytest
from avpipe.cache.clip_ids import file_stem, is_bad_id
from avpipe.pipeline.main import main
from avpipe.train.loop import train
from avpipe.train.recipe import load_recipe
from cache_factory import make_cache
from evaluation_factory import TINY
from hostile_run import below

pytestmark = pytest.mark.usefixtures("one_thread")

ELSEWHERE = ["../up", "/etc/passwd", "..", ".", "", "a/b", "a\0b", "..\0", "/", "a/../../b", "./x"]
ODD = [
    "..a001", ".hidden001", "-rf001", "--out001", "a b001", " 001", "a\nb001", "\r001", "\t001",
    "\x1b[2J001", "\x1b]0;t\x07001", "\x7f001", "\u202eevil001", "\u200b001", "\ufeff001",
    "e\u0301001", "\u00e9001", "\udcff001", "CON001", "nul.001", "C:001", "a\\..\\b001", "\\x1b001",
    "\\\x1b001", "\\\\x1b001", "~001", "$HOME001", "`id`001", "%2e%2e%2f001", "*001", "?001",
    "a.b.c001", "a.png001", "=cmd()001", "'001", '"001', "<b>001", "&amp;001", "|001", ";001",
    "x" * 297 + "001", "x" * 298 + "001", "\u00fc" * 200 + "001", "\x1b" * 200 + "001",
]  # fmt: skip


@pytest.mark.parametrize("bad", ELSEWHERE)
def test_ids_that_lead_elsewhere_name_no_file(bad: str) -> None:
    assert is_bad_id(bad)
    with pytest.raises(ValueError, match="no file can be named"):
        file_stem(bad)


def test_each_id_names_its_own_file(tmp_path: Path) -> None:
    stems = [file_stem(one) for one in ODD]
    assert len(set(stems)) == len(ODD)
    for stem in stems:
        path = tmp_path / f"{stem}.png"
        path.touch()
        assert path.parent == tmp_path and path.name.isprintable()
    assert len(below(tmp_path)) == len(ODD)


def test_escapes_and_what_looks_like_one_differ() -> None:
    """The character ESC and its escape began the same name: the later map replaced the other."""
    parts = ["\\", "\x1b", "x1b", "\\x1b", "u202e", "\u202e", "a"]
    ids = [""]
    for _ in range(4):
        ids += [one + part for one in ids for part in parts]
    ids = sorted(set(ids) - {""})
    assert len({file_stem(one) for one in ids}) == len(ids) > 1000
    assert file_stem("a\\b") == "a\\b" and file_stem("plain-ü") == "plain-ü"


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ids") / "here"
    cache = make_cache(folder / "avcache", len(ODD), ids=ODD)
    train(cache, load_recipe("compact", TINY), folder / "run", device="cpu")
    return folder


@pytest.fixture(autouse=True)
def in_folder(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(here)
    monkeypatch.setenv("AVPIPE_DEVICE", "cpu")
    monkeypatch.setenv("AVPIPE_WEIGHTS_DIR", str(here.parent / "no-weights"))


def ran(words: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """Run a command that ends well; return what it prints, in which nothing acts."""
    assert main(words) == 0, capsys.readouterr().err
    out, err = capsys.readouterr()
    assert not set("\x1b\x07\u202e\u200b") & set(out + err)
    return out


def test_localize_writes_a_picture_of_each_and_nothing_else(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = [ODD[0], ODD[2], "\x1b[2J001", "\\x1b001", "\\\\x1b001", "\u202eevil001", ODD[-3]]
    assert set(lines) <= set(ODD)
    Path("ids.txt").write_text("\n".join(lines) + "\n", "utf-8", "surrogateescape")
    before = set(below(here.parent))
    ran(["localize", "--ids", "ids.txt", "--run", "run", "--out", "out"], capsys)
    new = set(below(here.parent)) - before
    pictures = {name for name in new if name.endswith(".png")}
    assert {f"here/out/{file_stem(one)}.png" for one in lines} <= pictures
    assert {name for name in new if not name.startswith("here/out")} == set()


def test_exports_hold_each_clip_once(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ran(["export-cache", "packed"], capsys)
    names, ids = [], []
    for path in sorted(Path("packed").glob("*.tar")):
        with tarfile.open(path) as archive:
            for member in archive:
                names.append(member.name)
                if member.name.endswith(".json"):
                    ids.append(json.load(archive.extractfile(member))["id"])  # type: ignore[arg-type]
    assert len(set(names)) == len(names)
    assert all("/" not in name and name.count(".") == 1 and name.isprintable() for name in names)
    assert sorted(ids) == sorted(ODD)
    with Path("packed/clips.csv").open(errors="surrogateescape", newline="") as file:
        assert len(list(csv.DictReader(file))) == len(ODD)


@pytest.mark.parametrize(
    "words",
    [["status"], ["inspect", "--id", ODD[9]], ["inspect", "--id", "../up", "--id", ODD[0]],
     ["report", "run"]],
    ids=" ".join,
)  # fmt: skip
def test_what_is_printed_and_drawn_stays_here(
    words: list[str], here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = set(below(here.parent))
    code = main(words)
    out, err = capsys.readouterr()
    assert code in (0, 2, 4) and "internal" not in err
    assert not set("\x1b\x07\u202e\u200b") & set(out + err)
    new = set(below(here.parent)) - before
    assert all(name.startswith(("here/inspect.png", "here/run/")) for name in new)
