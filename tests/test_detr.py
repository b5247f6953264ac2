"""DETR through transformers: our hint is its backbone's map, and nothing reaches the network."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from avpipe.errors import MissingDependencyError
from avpipe.stages.teachers.images import squash
from avpipe.stages.teachers.visual import detr_r50
from avpipe.weights import Weights, resolve
from PIL import Image
from safetensors.torch import load_file, save_file
from transformers import DetrConfig, DetrForObjectDetection, ResNetConfig
from transformers.utils import logging


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Save a small random DETR as transformers does."""
    path = tmp_path_factory.mktemp("detr") / "detr-resnet-50"
    config = DetrConfig(
        use_timm_backbone=False,
        use_pretrained_backbone=False,
        backbone=None,
        backbone_config=ResNetConfig(
            embedding_size=8, hidden_sizes=[8, 16, 24, 32], depths=[1] * 4, out_features=["stage4"]
        ),
        num_labels=91,
        num_queries=5,
        **{f"{part}_layers": 1 for part in ("encoder", "decoder")},
        **{f"{part}_attention_heads": 2 for part in ("encoder", "decoder")},
        **{f"{part}_ffn_dim": 32 for part in ("encoder", "decoder")},
        d_model=32,
    )
    logging.disable_progress_bar()
    torch.manual_seed(3)
    DetrForObjectDetection(config).save_pretrained(path)
    return path


def frames(num: int) -> np.ndarray:
    rng = np.random.default_rng(0)
    return np.stack(
        [squash(rng.integers(0, 256, (60, 80 + i, 3), dtype=np.uint8)) for i in range(num)]
    )


def chosen(folder: Path) -> Weights:
    return resolve("detr-r50", detr_r50.FILES, [f"detr-r50={folder}"])


def test_the_hint_is_transformers_own_backbone_map(folder: Path) -> None:
    given = frames(3)
    ours = detr_r50.build(chosen(folder), "cpu")(given)["value"]
    model = DetrForObjectDetection.from_pretrained(folder, local_files_only=True).eval()
    mean, std = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    pixels = torch.from_numpy((given / 255 - mean) / std).permute(0, 3, 1, 2).float()
    with torch.inference_mode():
        last_map, _ = model.model.backbone(pixels, torch.ones(3, 224, 224, dtype=torch.bool))[-1]
    assert ours.shape == (3, 32, 7, 7)
    assert ours.dtype == np.float16
    np.testing.assert_allclose(ours, last_map.numpy(), rtol=2e-3, atol=1e-3)
    assert ours.std() > 0.01


def test_a_general_weights_folder_works_too(folder: Path) -> None:
    found = resolve("detr-r50", detr_r50.FILES, [str(folder.parent)])
    assert found == chosen(folder)
    assert [path.name for path in found.paths] == ["config.json", "model.safetensors"]


def test_weights_that_are_not_exactly_detrs_are_refused(folder: Path, tmp_path: Path) -> None:
    spoilt = tmp_path / "detr"
    shutil.copytree(folder, spoilt)
    state = load_file(folder / "model.safetensors")
    name = next(n for n in state if n.endswith("embedder.convolution.weight"))
    without = {n: v for n, v in state.items() if n != name}
    for content, message in (
        (without, "lacks .*embedder.convolution.weight"),
        ({**without, name: torch.zeros(8, 3, 3, 3)}, "another shape .*embedder.convolution"),
        ({**state, "stranger": torch.zeros(1)}, "has unknown stranger"),
    ):
        save_file(content, spoilt / "model.safetensors", metadata={"format": "pt"})
        with pytest.raises(MissingDependencyError, match=message) as caught:
            detr_r50.build(chosen(spoilt), "cpu")
        assert str(spoilt) in str(caught.value)
        assert "\n" not in str(caught.value)
    (spoilt / "model.safetensors").write_bytes(b"no tensors")
    with pytest.raises(MissingDependencyError, match="cannot be read as a DETR"):
        detr_r50.build(chosen(spoilt), "cpu")


def test_the_timm_revision_is_refused_by_name(folder: Path, tmp_path: Path) -> None:
    with_timm = tmp_path / "detr"
    shutil.copytree(folder, with_timm)
    config = json.loads((folder / "config.json").read_text())
    config |= {"use_timm_backbone": True, "backbone": "resnet50", "backbone_config": None}
    (with_timm / "config.json").write_text(json.dumps(config))
    with pytest.raises(MissingDependencyError, match=r"timm.*no_timm"):
        detr_r50.build(chosen(with_timm), "cpu")


def test_a_random_detr_of_real_size_gives_the_papers_shape() -> None:
    weights = resolve("detr-r50", detr_r50.FILES, ["random"])
    value = detr_r50.build(weights, "cpu")(frames(2))["value"]
    dtype, item = detr_r50.COLUMNS["value"]
    assert value.shape == (2, *item) == (2, 2048, 7, 7)
    assert value.dtype == np.dtype(dtype)
    assert np.isfinite(value).all()


def test_squash_keeps_the_whole_frame_and_antialiases() -> None:
    frame = np.zeros((300, 600, 3), np.uint8)
    frame[:, 300:] = 255
    small = squash(frame)
    assert small.shape == (224, 224, 3)
    assert small[:, :110].max() == 0
    assert small[:, 114:].min() == 255
    stripes = np.zeros((448, 448, 3), np.uint8)
    stripes[:, ::2] = 255
    assert abs(squash(stripes)[50:-50, 50:-50].astype(int) - 127).max() <= 3
    reference = Image.fromarray(frame).resize((224, 224), Image.Resampling.BILINEAR)
    np.testing.assert_array_equal(small, np.asarray(reference))
