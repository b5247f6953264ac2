"""The site: every page has a place, links lead somewhere, nothing is fetched from elsewhere.

What builds it needs mkdocs-material, the extra `docs`; without it those tests skip.
"""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
import tomllib
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

ROOT = Path(__file__).parents[2]
SETTINGS = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
NAMED = re.findall(r"(?m)^ +- (?:[^:\n]+: )?([\w./-]+\.(?:md|ipynb))$", SETTINGS)
OUTSIDE = {"index.md", "pages.md", "bench.md", "contributing.md", "changelog.md"}
needs_mkdocs = pytest.mark.skipif(
    importlib.util.find_spec("material") is None, reason="no mkdocs-material here: make docs-site"
)
TEXTS = [ROOT / "README.md", ROOT / "bench/README.md", *sorted((ROOT / "docs").glob("*.md"))]
FETCHED = {"src", "srcset", "poster", "data"}
"""Attributes whose address a browser loads by itself."""


def without_code(path: Path) -> str:
    """Return a page's text without its blocks of code."""
    return re.sub(r"(?ms)^( *)```.*?^\1```$", "", path.read_text(encoding="utf-8"))


class Page(HTMLParser):
    """What a page links to, fetches, and defines."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.links: list[str] = []
        self.fetched: list[str] = []
        self.ids: set[str] = set()
        self.count: dict[str, int] = {}
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        self.count[tag] = self.count.get(tag, 0) + 1
        self.ids.add(given.get("id", ""))
        if tag == "a" and "href" in given:
            self.links.append(given["href"])
        if tag == "link" and given.get("rel") not in ("canonical", "prev", "next"):
            self.fetched.append(given["href"])
        self.fetched += [value for name, value in given.items() if name in FETCHED]


def test_every_page_has_one_place() -> None:
    docs = ROOT / "docs"
    pages = {path.relative_to(docs).as_posix() for path in docs.rglob("*.md")} - {"README.md"}
    pages |= {path.name for path in docs.glob("*.ipynb")}
    assert sorted(NAMED) == sorted(pages | OUTSIDE)


def test_the_extra_is_pinned() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    names = {re.split(r"[<>=]", one)[0] for one in project["optional-dependencies"]["docs"]}
    assert "mkdocs-material" in names
    pins = re.findall(r"(?m)^([\w.-]+)==", (ROOT / "constraints.txt").read_text(encoding="utf-8"))
    assert names <= set(pins)


@pytest.mark.parametrize("path", TEXTS, ids=lambda path: path.name)
def test_no_line_of_words_begins_as_an_item_of_a_list(path: Path) -> None:
    """A number and a full stop at the start of a line make an item, for one reader or the other."""
    last = 0
    for number in map(int, re.findall(r"(?m)^ *(\d+)\. ", without_code(path))):
        assert number in (1, last + 1), f"{path.name}: a line begins with {number}."
        last = number


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "-q", "-d", str(out)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return out


@pytest.fixture(scope="module")
def pages(site: Path) -> dict[Path, Page]:
    return {path: Page(path) for path in site.rglob("*.html") if path.name != "404.html"}


@needs_mkdocs
def test_links_of_the_site_lead_somewhere(pages: dict[Path, Page], site: Path) -> None:
    checked = 0
    for path, page in pages.items():
        for link in page.links:
            parts = urlsplit(link)
            if parts.scheme:
                assert parts.scheme == "https", (path.name, link)
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            if target == site.resolve():
                continue
            assert target.is_file(), f"{path.name}: {link}"
            if parts.fragment and target.suffix == ".html":
                assert unquote(parts.fragment) in pages[target].ids | {"__skip"}, link
            checked += 1
    assert checked > 500 and len(pages) >= 30


@needs_mkdocs
def test_pages_fetch_nothing_from_elsewhere(pages: dict[Path, Page], site: Path) -> None:
    for path, page in pages.items():
        for address in page.fetched:
            assert not urlsplit(address).netloc, f"{path.name} fetches {address}"
            assert (path.parent / unquote(urlsplit(address).path)).exists(), address
    for sheet in site.rglob("*.css"):
        assert "url(http" not in sheet.read_text(encoding="utf-8").replace("url(//", "url(http")


@needs_mkdocs
@pytest.mark.parametrize("path", sorted((ROOT / "docs").glob("*.md")), ids=lambda path: path.name)
def test_a_page_has_the_tables_and_lists_that_its_text_has(
    path: Path, pages: dict[Path, Page], site: Path
) -> None:
    """Mkdocs reads Markdown otherwise than GitHub: a list or a table may end as words."""
    name = "pages" if path.name == "README.md" else path.stem
    count = pages[site / f"{name}.html"].count
    text = without_code(path)
    assert count.get("table", 0) == len(re.findall(r"(?m)^ *\|[-:| ]+\|$", text))
    rows = len(re.findall(r"(?m)^ *\|", text)) - count.get("table", 0)
    assert count.get("tr", 0) == rows
    html = (site / f"{name}.html").read_text(encoding="utf-8")
    article = html.partition("<article")[2].partition("</article>")[0]
    assert article.count("<li>") == len(re.findall(r"(?m)^ *(?:[-*]|\d+\.) ", text))
