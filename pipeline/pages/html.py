"""Pages that are one file: style and pictures inside, nothing fetched, readable on a phone.

Colours follow the reader's setting, light or dark. On a narrow screen the rows of a table with many
columns become blocks, one below the other; the page never scrolls sideways. Text is escaped here,
so whatever a clip is called stays text.
"""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Iterable, Sequence
from html import escape
from typing import Literal

from ...printable import printable

_STYLE = """
:root { color-scheme: light dark; --ink: #1c1e21; --soft: #5f6670; --paper: #fff; --line: #d9dde2;
  --band: #f3f5f7; --accent: #0b62b8; --warn: #9a4a00 }
@media (prefers-color-scheme: dark) { :root { --ink: #e4e6e9; --soft: #9da4ad; --paper: #16181b;
  --line: #363b42; --band: #202429; --accent: #7db7ff; --warn: #ffb26b } }
* { box-sizing: border-box }
body { margin: 0 auto; padding: 1rem clamp(.8rem, 3vw, 2.5rem) 3rem; max-width: 80rem;
  background: var(--paper); color: var(--ink); overflow-wrap: anywhere;
  font: 1rem/1.5 system-ui, sans-serif; -webkit-text-size-adjust: 100% }
h1 { font-size: 1.5rem; line-height: 1.25; margin: .4rem 0 }
h2 { font-size: 1.15rem; line-height: 1.3; margin: 2rem 0 .4rem }
h3 { font-size: 1rem; margin: 1.2rem 0 .3rem }
p, ul { margin: .4rem 0; max-width: 46rem }
a { color: var(--accent) }
.soft { color: var(--soft) }
.warn { color: var(--warn) }
code { font: .92em ui-monospace, monospace; background: var(--band); padding: .05em .3em;
  border-radius: 3px }
figure { margin: .8rem 0 }
figcaption { color: var(--soft); font-size: .9rem; margin-top: .2rem }
img { max-width: 100%; height: auto; display: block; background: #fff; border-radius: 4px }
.scroll { overflow-x: auto; margin: .6rem 0 }
table { border-collapse: collapse; font-size: .92rem; font-variant-numeric: tabular-nums }
th, td { padding: .3rem .7rem; border-bottom: 1px solid var(--line); text-align: left;
  vertical-align: top }
thead th { background: var(--band); white-space: nowrap }
td { overflow-wrap: normal }
td.number, th.number { text-align: right; white-space: nowrap }
@media (max-width: 44rem) {
  .stack table, .stack thead, .stack tbody, .stack th:first-child { display: block }
  .stack th, .stack th:first-child:empty { display: none }
  .stack tr { display: grid; gap: 0 1.4rem; padding: .35rem .7rem;
    border-bottom: 1px solid var(--line);
    grid-template-columns: repeat(auto-fill, minmax(min(100%, 9rem), 1fr)) }
  .stack thead tr { display: block; padding: 0 }
  .stack td { border: 0; padding: 0; grid-column: 1 / -1; overflow-wrap: anywhere }
  .stack td.number { display: flex; justify-content: space-between; grid-column: auto }
  .stack td:first-child { font-weight: 600 }
  .stack td[data-name]::before { content: attr(data-name); color: var(--soft); margin-right: .6em }
}
.cards, .strip { display: grid; gap: .4rem 1.2rem; align-items: start;
  grid-template-columns: repeat(auto-fill, minmax(min(100%, 20rem), 1fr)) }
.strip { gap: .2rem .6rem; grid-template-columns: repeat(auto-fill, minmax(max(6.5rem, 15%), 1fr)) }
.strip figure { margin: .2rem 0 }
.same img { outline: 3px solid #1b7837 }
audio, video { max-width: 100%; display: block; margin: .4rem 0 }
audio { width: 20rem }
summary { cursor: pointer; padding: .4rem 0; color: var(--accent) }
"""

_MOST_COLUMNS = 2
"""So many fit on a phone, whatever they hold."""
_JPEG = b"\xff\xd8\xff"


def page(title: str, body_html: str, style: str = "") -> str:
    """Return a whole HTML page.

    Args:
        title: Text of the window's title and of the heading.
        body_html: What follows the heading; HTML, made with the functions below.
        style: Rules beside those that every page has.
    """
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<link rel="icon" href="data:,">\n'
        f"<title>{text(title)}</title>\n<style>{_STYLE}{style}</style>\n</head>\n"
        f"<body>\n<h1>{text(title)}</h1>\n{body_html}\n</body>\n</html>\n"
    )


def text(content: object) -> str:
    """Return something as text that no browser takes for a tag, and that turns no line around."""
    return escape(printable(content, "\n"))


def paragraph(content: object, style: str = "") -> str:
    """Return a paragraph of text; `style` may be `soft` or `warn`."""
    return f"<p{_class(style)}>{text(content)}</p>"


def remark(line: object) -> str:
    """Return a line that tells of something wrong; commands between backquotes look like code."""
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", paragraph(line, "warn"))


def picture(
    content: bytes, alt: str, caption: str = "", width_px: int | None = None, style: str = ""
) -> str:
    """Return a PNG or JPEG inside the page; never wider than the screen.

    Args:
        content: The file.
        alt: What it shows, in words.
        caption: Text below it.
        width_px: Shown so wide where there is room; as it is if None.
        style: `same` frames it in green.
    """
    size = "" if width_px is None else f' width="{width_px}"'
    kind = "image/jpeg" if content.startswith(_JPEG) else "image/png"
    image = f'<img alt="{text(alt)}"{size} src="{_inside(content, kind)}">'
    below = f"<figcaption>{text(caption)}</figcaption>" if caption else ""
    return f"<figure{_class(style)}>{image}{below}</figure>"


def player(content: bytes, alt: str, tag: Literal["audio", "video"]) -> str:
    """Return a WAV or MP4 inside the page, with buttons.

    Args:
        content: The file.
        alt: What is heard or shown.
        tag: Whether only its sound is of interest.
    """
    where = _inside(content, "audio/wav" if content.startswith(b"RIFF") else "video/mp4")
    return f'<{tag} controls preload="metadata" aria-label="{text(alt)}" src="{where}"></{tag}>'


def block(style: str, parts: Iterable[str]) -> str:
    """Return HTML side by side: `cards` as wide as a phone, `strip` of small pictures."""
    return f"<div{_class(style)}>\n" + "\n".join(parts) + "\n</div>"


def heading(content: object, level: int = 2) -> str:
    """Return a heading."""
    return f"<h{level}>{text(content)}</h{level}>"


def fold(title: object, body_html: str) -> str:
    """Return HTML that is hidden until its title is touched."""
    return f"<details><summary>{text(title)}</summary>\n{body_html}\n</details>"


def _inside(content: bytes, kind: str) -> str:
    return f"data:{kind};base64,{b64encode(content).decode()}"


def table(header: Sequence[str], rows: Iterable[Sequence[object]], numbers: str = "") -> str:
    """Return a table of text.

    On a narrow screen the rows of more than two columns become blocks that name every cell.

    Args:
        header: Names of the columns.
        rows: Cells; `None` is shown as a dash.
        numbers: A letter a column: `r` is set to the right as numbers are, all else to the left.
    """
    styles = ["number" if side == "r" else "" for side in numbers.ljust(len(header))]
    head = "".join(
        f"<th{_class(one)}>{text(name)}</th>" for name, one in zip(header, styles, strict=True)
    )
    stacks = len(header) > _MOST_COLUMNS
    names = ["", *(header[1:] if stacks else [""] * (len(header) - 1))]
    body = "\n".join(
        "<tr>" + "".join(_cell(*cell) for cell in zip(row, styles, names, strict=True)) + "</tr>"
        for row in rows
    )
    return (
        f'<div class="scroll{" stack" if stacks else ""}"><table>\n<thead><tr>{head}</tr></thead>\n'
        f"<tbody>\n{body}\n</tbody>\n</table></div>"
    )


def _cell(content: object, style: str, name: str) -> str:
    named = f' data-name="{text(name)}"' if name else ""
    return f"<td{_class(style)}{named}>{'-' if content is None else text(content)}</td>"


def _class(style: str) -> str:
    return f' class="{style}"' if style else ""
