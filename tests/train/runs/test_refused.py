"""Files of runs that the system refuses now: no damage, and nothing that may be left out."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from avpipe.train.runs.card import read_scores
from avpipe.train.runs.exported import exported_weights


@pytest.mark.parametrize("read", [read_scores, lambda run: exported_weights(run, None)])
def test_a_refusal_is_told_as_such(
    read: Callable[[Path], object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "evaluate").mkdir()
    (tmp_path / "evaluate" / "synth-avpipe.json").write_text("{}")

    really_open = os.open

    def refuse(path: Path, *more: int) -> int:
        if not Path(path).is_relative_to(tmp_path):
            return really_open(path, *more)
        raise OSError(errno.EIO, os.strerror(errno.EIO), str(path))

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(OSError, match="Input/output error"):
        read(tmp_path)
