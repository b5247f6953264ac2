"""The page of teachers: its commands run, its table is what the modules say."""

import re
import shlex
from pathlib import Path

import pytest
from avpipe.cache.state import stages
from avpipe.pipeline.main import main
from avpipe.stages.teachers.protocol import MODALITIES, choices, load_teacher
from cache_factory import make_cache

PAGE = (Path(__file__).parents[2] / "docs/teachers.md").read_text(encoding="utf-8")


@pytest.mark.slow
def test_its_commands_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, one_thread: None
) -> None:
    monkeypatch.chdir(tmp_path)
    make_cache(tmp_path / "avcache", 3)
    Path("avpipe.toml").write_text('weights = ["random"]\ndevice = "cpu"\n')
    commands = re.findall(r"(?m)^\$ avpipe (.*)$", PAGE)
    assert len(commands) == 4
    for command in commands:
        words = shlex.split(command, comments=True)
        assert main(words) == 0
    made = stages(tmp_path / "avcache")
    hints = ("detr-r50", "detr-r50-encoder", "panns-wavegram")
    assert {*(f"hints/{name}" for name in hints), "objects/detr-r50"} < {*made}
    assert {"embeddings/panns-cnn14", "hints/mobilenet-v2-448", "hints/efficientat-mn04"} < {*made}


def test_its_table_is_complete() -> None:
    rows = dict(re.findall(r"(?m)^\| `([a-z0-9-]+)` \| [^|]+ \| `(\([\d, ]+\))`", PAGE))
    names = [name for modality in MODALITIES for name in choices(modality)]
    assert rows == {name: str(load_teacher(name).COLUMNS["value"][1]) for name in names}
