"""OGL's network: built where there are weights for it."""

from __future__ import annotations

from pathlib import Path

import pytest
from avpipe.errors import MissingDependencyError
from avpipe.train.score import object_prior
from avpipe.train.score.object_prior import ObjectPrior


def test_without_weights_no_network_is_built(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AVPIPE_WEIGHTS_DIR", str(tmp_path))
    built: list[object] = []
    monkeypatch.setattr(object_prior, "resnet18", lambda: built.append(1))
    with pytest.raises(MissingDependencyError, match="resnet18-f37072fd"):
        ObjectPrior()
    assert not built
