"""Pages that are one file: nothing is fetched, no text becomes a tag."""

from base64 import b64decode
from html.parser import HTMLParser
from pathlib import Path

import pytest
from avpipe.pipeline.pages import html
from browser import missing, open_browser

HOSTILE = '<script>alert("x")</script> & \udcff'


class Seen(HTMLParser):
    """Tags, their attributes, and the text of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.words.append(data)


def test_text_stays_text_wherever_it_stands():
    body = (
        html.paragraph(HOSTILE, "soft")
        + html.picture(b"png", HOSTILE, HOSTILE)
        + html.table([HOSTILE], [[HOSTILE]])
    )
    page = html.page(HOSTILE, body)
    page.encode()  # a name that is no UTF-8 does not stop the writing
    seen = Seen(page)
    assert "script" not in [tag for tag, _ in seen.tags]
    expected = '<script>alert("x")</script> & \\udcff'
    assert "".join(seen.words).count(expected) == 6  # title, heading, paragraph, caption, 2 cells
    (image,) = [attributes for tag, attributes in seen.tags if tag == "img"]
    assert image["alt"] == expected


def test_a_page_fetches_nothing_and_fits_a_phone():
    page = html.page("a", html.picture(b"\x89PNG bytes", "what it shows", width_px=320))
    seen = Seen(page)
    targets = [
        value for _, attributes in seen.tags for name, value in attributes.items()
        if name in ("src", "href")
    ]  # fmt: skip
    assert len(targets) == 2
    assert all(target is not None and target.startswith("data:") for target in targets)
    assert "url(" not in page
    assert "@import" not in page
    (image,) = [attributes for tag, attributes in seen.tags if tag == "img"]
    assert b64decode(str(image["src"]).partition("base64,")[2]) == b"\x89PNG bytes"
    assert image["width"] == "320"
    names = [attributes.get("name") for tag, attributes in seen.tags if tag == "meta"]
    assert "viewport" in names


def test_a_table_sets_numbers_to_the_right_and_shows_what_is_not_there():
    made = html.table(["id", "score"], [["a", 0.5], ["b", None]], " r")
    assert made.count('<td class="number">') == 2
    assert '<td class="number">-</td>' in made
    assert '<th class="number">score</th>' in made
    with pytest.raises(ValueError, match="argument 2"):
        html.table(["id", "score"], [["a"]])


def test_the_cells_of_a_wide_table_are_named():
    head = ["run", "LocAcc", "<AUC>", "source"]
    made = html.table(head, [["a", 0.5, None, "x"]], " rr")
    assert '<div class="scroll stack">' in made
    cells = [attributes for tag, attributes in Seen(made).tags if tag == "td"]
    assert [one.get("data-name") for one in cells] == [None, *head[1:]]
    narrow = html.table(head[:2], [["a", 0.5]], " r")
    assert "stack" not in narrow and "data-name" not in narrow


@pytest.mark.skipif(bool(missing()), reason=missing() or "there")
def test_a_wide_table_is_read_on_a_phone_without_scrolling(tmp_path: Path):
    head = ["audio-visual map", "right object", "swapped", "off-screen", "mismatched", "source"]
    rows = [["mean of 3", "0.952", "0.984", "0.961", "-", "a paper with a long title " * 3]] * 2
    page = tmp_path / "page.html"
    page.write_text(html.page("a", html.table(head, rows, " rrrr")))
    place = """return [...document.querySelectorAll(arguments[0])]
        .map(one => one.getBoundingClientRect()).map(box => [box.left, box.right, box.top])"""
    with open_browser(tmp_path / "profile") as browser:
        for width, is_stacked in ((390, True), (1200, False)):
            browser.resize(width, 900)
            browser.open(page.as_uri())
            scroll = browser.run("const t = document.querySelector('.scroll'); "
                                 "return [t.scrollWidth, t.clientWidth]")  # fmt: skip
            assert scroll[0] <= scroll[1]
            cells = browser.run(place, "tbody tr:first-child td")
            assert all(0 <= left < right <= width for left, right, _ in cells)
            assert (len({top for *_, top in cells}) > 1) == is_stacked
            name = browser.run("return getComputedStyle(document.querySelector('td.number'), "
                               "'::before').content")  # fmt: skip
            assert name == ('"right object"' if is_stacked else "none")
            assert browser.text("thead th") == "audio-visual map"
