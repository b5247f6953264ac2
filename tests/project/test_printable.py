"""No id, label, path or argument acts on a terminal, a page or a spreadsheet."""

from __future__ import annotations

import csv
import io
import itertools
import json
import re
import unicodedata
from pathlib import Path

import pytest
from avpipe.cache.clip_ids import file_stem, is_bad_id
from avpipe.cache.store import Cache
from avpipe.pipeline import output, progress
from avpipe.pipeline.extract import workers
from avpipe.pipeline.main import main
from avpipe.pipeline.pages import html
from avpipe.pipeline.pages.report.overlays import read_samples
from avpipe.pipeline.progress import Progress
from avpipe.printable import cell, from_cell, printable
from avpipe.train.loop import train
from avpipe.train.recipe import load_recipe
from avpipe.train.score import evaluate as evaluation
from avpipe.train.tables.results import results_path
from cache_factory import make_cache
from evaluation_factory import TINY, write_vggss
from hypothesis import given
from hypothesis import strategies as st

EVIL = "a\x1b[31m\x07\u202eb\r\x9b2J\u2066<i>&\udcff\u200bc"
"""Colour, the bell, text from right to left, back to the line's begin, a screen cleared, a tag."""
ACTS = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u200b\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


@pytest.fixture(autouse=True)
def in_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("AVPIPE_WEIGHTS_DIR", str(tmp_path / "no-weights"))


def test_characters_of_unicode() -> None:
    """Controls, surrogates and line ends are escaped; letters, signs and joiners stay."""
    for code in (*range(0x20000), *range(0xE0000, 0xE0200)):
        character = chr(code)
        category = unicodedata.category(character)
        shown = printable(character)
        bidi = unicodedata.bidirectional(character) in {
            "LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"
        }  # fmt: skip
        if category in ("Cc", "Cs", "Zl", "Zp") or bidi or character in "\u200e\u200f\u061c":
            assert shown == character.encode("unicode_escape", "surrogatepass").decode() or (
                character in "\t\n\r" and shown == f"\\x{code:02x}"
            )
        elif category[0] != "C":
            assert shown == character
    assert printable("\u0645\u06cc\u200c\u062e \U0001f468\u200d\U0001f469") == (
        "\u0645\u06cc\u200c\u062e \U0001f468\u200d\U0001f469"
    )
    assert printable("a\nb\tc\r", "\n\t") == "a\nb\tc\\x0d"


@given(st.text(st.characters(exclude_categories=[]), max_size=20))
def test_a_cell_is_read_back_exactly(text: str) -> None:
    shown = cell(text)
    assert from_cell(shown) == text
    assert not ACTS.search(shown) and "\n" not in shown
    assert shown[:1] not in ("=", "+", "-", "@") or re.fullmatch(r"[-+][\d.e+-]+|-inf", shown)


@pytest.mark.parametrize(
    "number", [-0.5, 1e-9, -1e-9, 3, -7, 0.0, float("inf"), float("-inf"), -0.0]
)
def test_numbers_stay_numbers(number: float) -> None:
    assert float(cell(number)) == number and cell(number) == str(number)


@pytest.mark.parametrize(
    ("text", "shown"),
    [("=1+1", "'=1+1"), ("-x", "'-x"), ("+cmd|' /C calc'!A0", "'+cmd|' /C calc'!A0"),
     ("@SUM(A1)", "'@SUM(A1)"), ("\tx", "\\x09x"), ("\rx", "\\x0dx"), ("'x", "''x"),
     ("-1", "-1"), ("-1+2", "'-1+2"), ("a=b", "a=b"), ("a\\x41", "a\\\\x41"), ("", "")],
)  # fmt: skip
def test_formulas_are_kept_from_spreadsheets(text: str, shown: str) -> None:
    assert cell(text) == shown and from_cell(shown) == text


def test_the_csv_of_an_evaluation_is_read_back_exactly() -> None:
    ids = [f"{EVIL}{sign}{number:03d}" for number, sign in enumerate("=+-@")]
    ids += [f"{sign}{EVIL}{number:03d}" for number, sign in enumerate("=+-@'\t", 4)]
    cache = make_cache(Path("avcache"), 10, ids=ids)
    assert cache.ids == ids
    train(cache, load_recipe("compact", TINY), Path("run"), device="cpu")
    write_vggss(Path(), ids)
    evaluation.evaluate([Path("run")], cache, annotations=Path("vggss.json"), benchmark="vggss",
                        device="cpu")  # fmt: skip
    results = results_path(Path("run"), "vggss", "avpipe")
    samples = read_samples(results, "ciou", "all")
    assert [one.pair.video for one in samples] == ids == [one.pair.audio for one in samples]
    text = (results.parent / f"{results.name}.csv").read_text("utf-8")
    assert not ACTS.search(text)
    rows = list(csv.DictReader(io.StringIO(text)))
    assert not any(value[:1] in "=+@" for row in rows for value in row.values() if value)
    assert {float(row["confidence"]) for row in rows} == {one.confidence for one in samples}


def test_failures_and_names_are_escaped_wherever_they_are_told(
    capsys: pytest.CaptureFixture[str],
) -> None:
    Path("videos").mkdir()
    (Path("videos") / f"{EVIL.replace('/', '')}.mp4").write_bytes(b"no video")
    Path("list.csv").write_text(
        f'path,id,label\nvideos/gone.mp4,"{EVIL}x","{EVIL}"\n', "utf-8", "surrogateescape"
    )
    assert main(["extract", "videos", "list.csv", "--jobs", "1", "--backend", "sequential"]) == 3
    while workers._children.of:  # of this process, not of workers that end
        workers._children.of.popitem()[1].close()
    for words in (
        ["inspect", "--failures", "--out", "page.html"],
        ["inspect", "--failures", "--json"],
        ["inspect", "--id", EVIL],
        ["status"],
        ["status", "--ids", EVIL],
        ["verify"],
        ["extract", EVIL],
        ["extract", f"{EVIL}.csv"],
        ["knn", "--image", EVIL],
        ["train", "--run", EVIL, "--recipe", EVIL],
        ["train", "--set", EVIL],
        ["evaluate", EVIL, "--benchmark", EVIL],
        ["--config", EVIL, "status"],
        ["drop", EVIL],
        [EVIL],
        [f"--{EVIL}"],
        ["extract", f"--{EVIL}"],
        ["--debug", "drop", EVIL],
    ):
        code = main(words)
        assert code in (0, 2, 3, 4, 5, 6), words
        captured = capsys.readouterr()
        assert not ACTS.search(captured.out + captured.err), words
        assert code == 0 or captured.err.count("\n") == 1 or words[0] == "--debug", words
    page = Path("page.html").read_text("utf-8")
    assert not ACTS.search(page) and "\\x1b[31m\\x07\\u202eb" in page and "<i>" not in page
    ids = [failure.id for failure in Cache("avcache").failures()]
    assert sum("\x1b" in one for one in ids) == 2  # the cache holds them as they are


def test_progress_and_notes(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Progress, "_line_due", 0.0)
    monkeypatch.setattr(progress.time, "monotonic", itertools.count(0.0, 60.0).__next__)
    with Progress(EVIL, 2) as bar:
        bar.advance(1, note=EVIL)
    output.note(EVIL)
    output.show({"a": EVIL + "\x7f"}, True, str)
    output.show({"a": EVIL}, False, output.fields_text)
    out, err = capsys.readouterr()
    assert not ACTS.search(out + err)
    assert err.count("\\x1b[31m") == 3 and out.count("\\x1b[31m") == 1
    assert json.loads(out.partition("\n}\n")[0] + "}") == {"a": EVIL + "\x7f"}


def test_a_name_is_no_markup_of_a_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    stream = Terminal()
    monkeypatch.setattr("sys.stderr", stream)
    monkeypatch.setenv("TERM", "xterm")
    with Progress("[bold]loud[/bold] [/nothing] \x1b]0;t\x07", 2) as bar:
        bar.advance(1, note="[red]n[/red]")
    shown = stream.getvalue()
    assert "[bold]loud[/bold] [/nothing]" in shown and "\x07" not in shown and "\x1b]0" not in shown


def test_pages() -> None:
    made = html.page(EVIL, html.table([EVIL, "b", "c"], [[EVIL, 1, None]]) + html.remark(EVIL))
    assert not ACTS.search(made) and "<i>" not in made and "&lt;i&gt;&amp;" in made


@pytest.mark.parametrize("bad", ["", ".", "..", "a/b", "/a", "../a", "a\0b"])
def test_ids_that_name_no_file(bad: str) -> None:
    assert is_bad_id(bad)
    with pytest.raises(ValueError, match="no file can be named"):
        file_stem(bad)


def test_files_named_by_ids() -> None:
    assert (
        file_stem("-abc_000010") == "-abc_000010" and file_stem("\u4e2d \u6587") == "\u4e2d \u6587"
    )
    assert file_stem("a\x1bb\n") == "a\\x1bb\\x0a"
    long = [file_stem("\u4e2d" * number) for number in (83, 84, 100, 5000)]
    assert long[0] == "\u4e2d" * 83 and len(set(long)) == 4
    assert all(len(name.encode()) <= 251 for name in long)
