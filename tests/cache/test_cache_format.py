"""docs/cache-format.md says what is true: its tables, its example, its list of reasons."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from avpipe.cache.schema import HINTS, OBJECTS, shard_path
from avpipe.cache.shard import Shard
from avpipe.errors import Reason
from avpipe.stages.teachers.protocol import choices, load_teacher
from fake_clips import FakeDecoder, make_cache

PAGE = Path(__file__).parents[2] / "docs" / "cache-format.md"


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return make_cache(tmp_path / "avcache", ["a", "b", "c"], failures={"b": ["no_audio"]})


@pytest.mark.parametrize("stage", ["extract", "audio"])
def test_tables_of_columns(cache: Path, stage: str) -> None:
    section = PAGE.read_text().split(f"### {stage}\n")[1].split("\n#")[0]
    documented = {
        name: (dtype.replace("\\|", "|"), shape.count(",") + 1)
        for name, dtype, shape in re.findall(
            r"^\| `(\w+)` \| `(.*?)` \| \((.*?)\) \|", section, re.M
        )
    }
    written = Shard(shard_path(cache, stage, 0)).header.columns
    assert documented == {name: (c.dtype, len(c.shape)) for name, c in written.items()}


@pytest.mark.parametrize(
    ("kind", "modality"), [(HINTS, "visual"), (HINTS, "audio"), (OBJECTS,) * 2]
)
def test_columns_of_networks(kind: str, modality: str) -> None:
    section = PAGE.read_text().split("### hints, embeddings, objects\n")[1].split("\n#")[0]
    text = [line for line in section.splitlines() if ("objects:" in line) == (kind == OBJECTS)]
    for name in choices(modality):
        for column, (dtype, item) in load_teacher(name, kind).COLUMNS.items():
            (line,) = [line for line in text if line.startswith(f"| `{column}` |")]
            assert f"`{dtype}`" in line, (name, column)
            sizes = [str(size) for size in item if f", {size}" not in line]
            assert all(size in line or ", d)" in line for size in sizes), (name, column)


def test_keys_of_header_and_lines(cache: Path) -> None:
    page = PAGE.read_text()
    header = json.loads(shard_path(cache, "extract", 0).read_bytes().split(b"\n")[0])
    table = page.split("| key | meaning |")[1].split("\n\n")[0]
    assert set(re.findall(r"`(\w+)`", "".join(re.findall(r"^\|(.*?)\|", table, re.M)))) == set(
        header
    )
    for line in (cache / "manifest" / "0000.jsonl").read_text().splitlines():
        assert all(f"`{key}`" in page for key in json.loads(line))


def test_example(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(cache.parent)
    code = PAGE.read_text().split("```python\n")[1].split("```")[0]
    names: dict[str, np.ndarray] = {}
    exec(code, names)
    assert np.array_equal(
        names["spectrograms"][0], FakeDecoder().row({"id": "a"})["spectrogram_wide"]
    )


def test_reasons() -> None:
    section = PAGE.read_text().split("## Reasons")[1].split("\n## ")[0]
    assert set(re.findall(r"`(\w+)`", section)) == set(Reason)
