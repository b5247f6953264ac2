"""DETR through transformers: our columns are its own outputs, and nothing reaches the network."""

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from avpipe.cache.schema import shard_path
from avpipe.cache.shard import read_header
from avpipe.cache.store import Cache
from avpipe.errors import MissingDependencyError
from avpipe.pipeline.main import main
from avpipe.stages.teachers.nets.images import squash
from avpipe.stages.teachers.objects import detr_r50 as objects
from avpipe.stages.teachers.visual import detr_r50, detr_r50_encoder
from avpipe.weights import Weights, resolve
from cache_factory import make_cache
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


def theirs(folder: Path) -> DetrForObjectDetection:
    return DetrForObjectDetection.from_pretrained(
        folder, local_files_only=True, attn_implementation="eager"
    ).eval()


def normalized(given: np.ndarray) -> torch.Tensor:
    mean, std = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    return torch.from_numpy((given / 255 - mean) / std).permute(0, 3, 1, 2).float()


def test_the_hint_is_transformers_own_backbone_map(folder: Path) -> None:
    given = frames(3)
    ours = detr_r50.build(chosen(folder), "cpu")(given)["value"]
    model, pixels = theirs(folder), normalized(given)
    with torch.inference_mode():
        last_map, _ = model.model.backbone(pixels, torch.ones(3, 224, 224, dtype=torch.bool))[-1]
    assert ours.shape == (3, 32, 7, 7)
    assert ours.dtype == np.float16
    np.testing.assert_allclose(ours, last_map.numpy(), rtol=2e-3, atol=1e-3)
    assert ours.std() > 0.01


def test_the_encoder_hint_is_transformers_own_memory(folder: Path) -> None:
    given = frames(3)
    ours = detr_r50_encoder.build(chosen(folder), "cpu")(given)["value"]
    with torch.inference_mode():
        memory = theirs(folder)(normalized(given)).encoder_last_hidden_state.numpy()
    assert ours.shape == (3, 32, 7, 7)
    assert ours.dtype == np.float16
    for cell in (0, 1, 7, 48):
        np.testing.assert_allclose(
            ours[:, :, cell // 7, cell % 7], memory[:, cell], rtol=2e-3, atol=2e-3
        )
    assert ours.std() > 0.1


@pytest.mark.parametrize("teacher", [detr_r50, detr_r50_encoder], ids=["backbone", "encoder"])
@pytest.mark.parametrize("size", [(455, 256), (256, 597)], ids=["9:16", "21:9"])
def test_a_bright_dot_moves_the_cell_where_it_is(
    folder: Path, teacher: Any, size: tuple[int, int], one_thread: None
) -> None:
    """Cell (i, j) looks at row 32 i, column 32 j of 224, whatever the frame's shape."""
    height, width = size
    cells = [(1, 5), (5, 1), (3, 3), (6, 2), (2, 6)]
    given = np.full((1 + len(cells), height, width, 3), 90, np.uint8)
    for number, (i, j) in enumerate(cells, 1):
        top, left = round(i * 32 / 224 * height), round(j * 32 / 224 * width)
        radius = 8
        given[number, top - radius : top + radius, left - radius : left + radius] = 255
    network = teacher.build(chosen(folder), "cpu")
    value = network(np.stack([teacher.prepare(frame) for frame in given]))["value"].astype(float)
    moved = np.abs(value[1:] - value[0]).sum(1)
    found = [np.unravel_index(one.argmax(), (7, 7)) for one in moved]
    assert [tuple(map(int, cell)) for cell in found] == cells


def test_the_object_map_is_the_mean_attention_of_sure_queries(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given, model = frames(4), theirs(folder)
    with torch.inference_mode():
        seen = model(normalized(given), output_attentions=True)
    scores = np.exp(seen.logits.double().numpy())
    scores = (scores / scores.sum(2, keepdims=True))[..., :91].max(2)  # (4, 5)
    attention = seen.cross_attentions[-1].double().numpy()  # (4, heads, 5, 49)
    ordered = np.sort(scores, axis=None)[-13:]
    widest = int(np.diff(ordered).argmax())
    threshold = float(ordered[widest : widest + 2].mean())  # as far as can be from any score
    monkeypatch.setattr(objects, "THRESHOLD", threshold)
    ours = objects.build(chosen(folder), "cpu")(given)
    assert ours["num_objects"].tolist() == (scores >= threshold).sum(1).tolist()
    assert ours["num_objects"].max() > 0
    for clip in range(4):
        kept = [query for query in range(5) if scores[clip, query] >= threshold]
        kept = kept or [int(scores[clip].argmax())]
        expected = np.mean([attention[clip, :, query].mean(0) for query in kept], axis=0)
        np.testing.assert_allclose(ours["value"][clip].ravel(), expected, rtol=2e-3)
    np.testing.assert_allclose(ours["best_score"], scores.max(1), rtol=1e-5)
    assert ours["value"].dtype == np.float16
    np.testing.assert_allclose(ours["value"].astype(float).sum((1, 2)), 1, rtol=1e-3)


def test_object_maps_with_and_without_a_sure_query() -> None:
    probability = np.full((3, 3, 5), 1e-9)  # clips, queries, 4 classes and "no object"
    probability[..., 4] = 1
    probability[0, 0, 2], probability[0, 2, 1] = 0.31, 0.9
    probability[0, 0, 4], probability[0, 2, 4] = 0.69, 0.1
    probability[1, 1, :2], probability[1, 1, 4] = 0.29, 0.42  # 0.58 in all, no class has 0.3
    probability[1, 2, 3], probability[1, 2, 4] = 0.2, 0.8
    attention = np.random.default_rng(0).random((3, 2, 3, 49))
    found = objects.object_map(
        torch.from_numpy(np.log(probability)).float(), torch.from_numpy(attention).float()
    )
    assert found["num_objects"].tolist() == [2, 0, 0]
    np.testing.assert_allclose(found["best_score"], [0.9, 0.29, 1e-9], rtol=1e-4)
    for clip, queries in ((0, [0, 2]), (1, [1])):
        expected = attention[clip][:, queries].mean((0, 1)).reshape(7, 7)
        np.testing.assert_allclose(found["value"][clip].float(), expected, rtol=1e-3)
    assert {name: tuple(value.shape[1:]) for name, value in found.items()} == {
        name: shape for name, (_, shape) in objects.COLUMNS.items()
    }


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
        ({**state, name: state[name] * torch.nan}, "not finite in .*embedder.convolution"),
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


def test_a_configuration_of_nothing_is_refused(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / "detr")
    (tmp_path / "detr/config.json").write_text("{}")
    with pytest.raises(MissingDependencyError, match=r"config\.json: is not a DETR's"):
        detr_r50.build(chosen(tmp_path / "detr"), "cpu")


def test_timm_is_never_asked_for(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)  # importing it fails
    for weights in (chosen(folder), resolve("detr-r50", detr_r50.FILES, ["random"])):
        assert np.isfinite(detr_r50.build(weights, "cpu")(frames(1))["value"]).all()
    assert all("/no_timm/" in file.url for file in detr_r50.FILES)


@pytest.fixture
def cache(tmp_path: Path, one_thread: None) -> Path:
    make_cache(tmp_path / "avcache", 5, shard_clips=4)
    return tmp_path / "avcache"


def ask(words: str, cache: Path, capsys: pytest.CaptureFixture[str]) -> Any:
    """Run a command on the CPU with --json; return its document."""
    capsys.readouterr()
    code = main([*words.split(), "--cache", str(cache), "--device", "cpu", "--json"])
    captured = capsys.readouterr()
    assert code == 0, captured.err
    return json.loads(captured.out)


@pytest.mark.slow  # every day the README's walk runs it, without objects
def test_a_random_detr_of_real_size_through_the_command(
    cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = "embed-teachers --audio none --weights random --objects"
    planned = ask(f"{words} --visual-hint encoder --dry-run", cache, capsys)["stages"]
    assert [stage["stage"] for stage in planned] == ["hints/detr-r50-encoder", "objects/detr-r50"]
    assert [stage["bytes_out"] for stage in planned] == [5 * 256 * 49 * 2, 5 * (49 * 2 + 2 + 4)]
    assert ask(words, cache, capsys)["done"] == 2 * 5
    again = ask(f"{words} --visual-hint encoder", cache, capsys)
    assert (again["done"], again["skipped"]) == (5, 5)
    assert again["weights"] == {
        "hints/detr-r50-encoder": "random:0",
        "objects/detr-r50": "random:0",
    }
    made = Cache(cache)
    for stage, shape in (
        ("hints/detr-r50", (2048, 7, 7)),
        ("hints/detr-r50-encoder", (256, 7, 7)),
        ("objects/detr-r50", (7, 7)),
    ):
        values = np.stack([made.column(stage)[row] for row in range(5)])
        assert values.shape == (5, *shape)
        assert values.dtype == np.float16
        assert np.isfinite(values).all() and values.astype(np.float32).std() > 0
    counts = [int(made.column("objects/detr-r50/num_objects")[row]) for row in range(5)]
    scores = [float(made.column("objects/detr-r50/best_score")[row]) for row in range(5)]
    assert [count > 0 for count in counts] == [score >= 0.3 for score in scores]
    header = read_header(shard_path(cache, "objects/detr-r50", 0))
    assert (header.params["threshold"], header.params["fallback"]) == (0.3, "best-query")


def test_a_teacher_without_an_encoder_says_so(
    cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = "embed-teachers --visual imagenet-resnet18 --visual-hint encoder --cache"
    assert main([*words.split(), str(cache)]) == 2
    assert "--visual-hint encoder: imagenet-resnet18 has no such output" in capsys.readouterr().err


def test_a_local_folder_serves_hint_and_objects_alike(
    folder: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(detr_r50_encoder, "COLUMNS", {"value": ("<f2", (32, 7, 7))})
    words = f"embed-teachers --audio none --visual-hint encoder --weights detr-r50={folder}"
    done = ask(f"{words} --objects --batch-size 3", cache, capsys)
    assert set(done["weights"].values()) == {chosen(folder).digest}
    words = f"embed-teachers --visual none --audio none --objects --weights detr-r50={folder}"
    assert ask(words, cache, capsys)["skipped"] == 5
    made = Cache(cache)
    given = np.stack([squash(made.clip(clip_id).frame) for clip_id in made.ids])
    with torch.inference_mode():
        memory = theirs(folder)(normalized(given)).encoder_last_hidden_state.mT.numpy()
    ours = np.stack([made.column("hints/detr-r50-encoder")[row] for row in range(5)])
    np.testing.assert_allclose(ours.reshape(5, 32, 49), memory, rtol=2e-3, atol=2e-3)


def test_detr_and_panns_serve_as_neighbour_sources(
    cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = "knn --image detr-r50 --audio panns-cnn14 --weights random --k 2"
    found = ask(words, cache, capsys)
    assert (found["done"], found["embedded"]) == (2 * 5, 2 * 5)
    made = Cache(cache)
    for stage, name in (
        ("embeddings/detr-r50", "image-detr-r50"),
        ("embeddings/panns-cnn14", "audio-panns-cnn14"),
    ):
        values = np.stack([made.column(stage)[row] for row in range(5)]).astype(np.float64)
        vectors = values.reshape(5, 2048, -1).mean(axis=2)
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        cosine = vectors @ vectors.T
        np.fill_diagonal(cosine, -2)
        for row in range(5):
            rows, similarity = made.neighbors(name)[row]
            assert row not in rows
            np.testing.assert_allclose(np.sort(cosine[row])[:-3:-1], similarity, atol=1e-3)
            np.testing.assert_allclose(cosine[row][rows], similarity, atol=1e-3)


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
