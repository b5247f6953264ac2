"""`localize --blend slavc`: the fixed ranges of SLAVC's test code and of its IPOL demo."""

from pathlib import Path

import numpy as np
import pytest
import reference_metrics as loops
from avpipe.errors import MissingDependencyError
from avpipe.train.score.controls import blend
from avpipe.train.show import overlays as module
from avpipe.train.show.overlays import Localized, overlay_picture, write_overlays


def clip() -> Localized:
    rng = np.random.default_rng(0)
    frame = rng.integers(0, 256, (64, 80, 3)).astype(np.uint8)
    return Localized("clip", frame, rng.uniform(0.1, 0.3, (64, 80)).astype(np.float32))


@pytest.mark.parametrize("alpha", [0.0, 0.5, 0.9])
def test_both_maps_keep_their_ranges(alpha: float) -> None:
    rng = np.random.default_rng(1)
    cosine = rng.uniform(-1, 1, (4, 4)).astype(np.float32)
    objects = rng.uniform(0, 2.5, (4, 4)).astype(np.float32)
    found = blend(cosine, objects, alpha, "slavc")
    expected = loops.blended("slavc", cosine.ravel().tolist(), objects.ravel().tolist(), alpha)
    np.testing.assert_allclose(found.ravel(), expected, atol=1e-6)
    own = loops.blended("avpipe", cosine.ravel().tolist(), objects.ravel().tolist(), alpha)
    np.testing.assert_allclose(blend(cosine, objects, alpha).ravel(), own, atol=1e-6)


def test_the_picture_shows_the_whole_range(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = {}
    monkeypatch.setattr(
        module.drawing, "picture_of_panels", lambda title, panels: drawn.update(panels=panels)
    )
    objects = np.full((8, 8), 1.0, np.float32)
    overlay_picture(clip(), "object map (OGL)", "mean activity", objects, 0.5, scales="slavc")
    panel = drawn["panels"][3]
    assert panel.limits == (0, 1)
    np.testing.assert_allclose(panel.heat, (clip().map + 1) / 4 + 0.2, atol=1e-6)


def test_the_object_map_says_what_its_values_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[tuple[str, str]] = []

    def draw(title: str, panels: list[module.Panel]) -> bytes:
        drawn.append((panels[2].title, panels[2].unit))
        return b""

    def missing(geometry: str) -> None:
        raise MissingDependencyError("no ImageNet weights")

    monkeypatch.setattr(module.drawing, "picture_of_panels", draw)
    for prior in (lambda geometry: module.saliency, missing):
        monkeypatch.setattr(module, "ObjectPrior", prior)
        write_overlays([clip()], tmp_path)
    assert drawn == [
        ("object map (OGL)", "mean activity"), ("object map (saliency)", "contrast"),
    ]  # fmt: skip


def test_saliency_has_no_such_range(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(geometry: str) -> None:
        raise MissingDependencyError("no ImageNet weights")

    monkeypatch.setattr(module, "ObjectPrior", missing)
    with pytest.raises(MissingDependencyError, match="no ImageNet weights"):
        write_overlays([clip()], tmp_path, scales="slavc")
    assert write_overlays([clip()], tmp_path)
