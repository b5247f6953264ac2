"""What `mkdocs build` does beside its own: pages from outside docs/, Markdown as GitHub reads it.

Links are written for readers of the repository. On the site those between pages lead to pages, and
those to code, which the site does not hold, become plain words.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from markdown import Markdown
from markdown.extensions import Extension
from mkdocs.structure.files import File

ROOT = Path(__file__).parents[1]
OUTSIDE = {
    "README.md": "index.md",
    "docs/README.md": "pages.md",
    "bench/README.md": "bench.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
}
"""Files of the repository, and what they are called on the site."""
_INSIDE = {page: source for source, page in OUTSIDE.items()}
_FENCE = re.compile(r"(?ms)^( *)(```.*?^\1```)$")
_LINK = re.compile(r"(!?\[)((?:[^\[\]]|\[[^\]]*\])*)\]\(([^()\s]+)\)")
_IS_PATH = re.compile(r"[\w./-]+\.md$")
_ITEM = re.compile(r"^ *([-*]|\d+\.) ")


class TwoSpaces(Extension):
    """Lists whose inner parts are indented by two spaces, as GitHub has them; not by four."""

    def extendMarkdown(self, md: Markdown) -> None:  # noqa: D102
        md.tab_length = 2


def on_config(config: Any) -> None:
    """Add the reading of lists."""
    config.markdown_extensions.append(TwoSpaces())


def on_files(files: Any, config: Any) -> None:
    """Add the pages from outside docs/."""
    for source, page in OUTSIDE.items():
        text = (ROOT / source).read_text(encoding="utf-8")
        files.append(File.generated(config, page, content=text))


def on_page_markdown(markdown: str, page: Any, config: Any, files: Any) -> str:
    """Bring one page to what the site understands."""
    uri = page.file.src_uri
    source = _INSIDE.get(uri, f"docs/{uri}")
    return outside_fences(markdown, lambda text: with_site_links(with_spaced_blocks(text), source))


def outside_fences(markdown: str, change: Callable[[str], str]) -> str:
    """Change a page but for its blocks of code, of which words after the language are removed."""
    parts, end = [], 0
    for fence in _FENCE.finditer(markdown):
        parts += [change(markdown[end : fence.start()])]
        parts += [re.sub(r"\A( *```\w+) .*", r"\1", fence[0], count=1)]
        end = fence.end()
    return "".join([*parts, change(markdown[end:])])


def with_spaced_blocks(text: str) -> str:
    """Put an empty line before lists and tables that follow a line of words."""
    lines: list[str] = []
    is_loose = False  # whether the item above holds an empty line
    for line in text.split("\n"):
        before = lines[-1] if lines else ""
        if _ITEM.match(line):
            in_list = _ITEM.match(before) or before.startswith(" ")
            begins = is_loose if in_list else True
            is_loose = False
        else:
            begins = line.lstrip().startswith("|") and not before.lstrip().startswith("|")
            is_loose = is_loose or not line.strip()
        if begins and before.strip():
            lines.append("")
        lines.append(line)
    return "\n".join(lines)


def with_site_links(text: str, source: str) -> str:
    """Turn links between files of the repository into links between pages of the site.

    Args:
        text: Markdown without blocks of code.
        source: The file it is from, from the repository's root.
    """
    here = posixpath.dirname(_site_path(source) or "")

    def changed(match: re.Match[str]) -> str:
        mark, words, target = match.groups()
        file, _, anchor = target.partition("#")
        if "://" in target or not file:
            return match[0]
        path = posixpath.normpath(posixpath.join(posixpath.dirname(source), file))
        page = _site_path(path)
        if page is not None and (ROOT / path).is_file():
            relative = posixpath.relpath(page, here or ".")
            name = _title(path) if _IS_PATH.match(words) else words
            return f"{mark}{name}]({relative}{'#' if anchor else ''}{anchor})"
        return words if (ROOT / path).exists() else match[0]  # what is missing, mkdocs reports

    return _LINK.sub(changed, text)


def _title(source: str) -> str:
    """Return the first heading of a page."""
    return (ROOT / source).read_text(encoding="utf-8").partition("\n")[0].removeprefix("# ")


def _site_path(source: str) -> str | None:
    """Return where a file of the repository is on the site; None if it is not there."""
    if source in OUTSIDE:
        return OUTSIDE[source]
    return source.removeprefix("docs/") if source.startswith("docs/") else None
