"""MobileNetV2 as a visual teacher: known answers, sizes that never mix, and where cells lie."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision
from avpipe.cache.shard import read_header
from avpipe.cache.state import stages
from avpipe.cache.store import Cache
from avpipe.errors import MissingDependencyError, UsageError
from avpipe.pipeline.main import main
from avpipe.stages.teachers.protocol import (
    at_size,
    choices,
    load_teacher,
    modality_of,
    network_of,
    without_size,
)
from avpipe.stages.teachers.visual import mobilenet_v2
from avpipe.train.nets.geometry import cell_centres
from avpipe.weights import Weights
from cache_factory import make_cache
from PIL import Image

MODELS = Path(__file__).parents[4] / "shared/real/models"
# Of two files converted from 8-bit networks: the first six of the pooled map, its norm, mean of map
FILES = {
    "mobilenet_v2_imagenet_from_quant.pth": (
        *((0, 1.0873, 0.1602, 0, 0, 0), 27.7284, 0.3759),
    ),
    "mobilenet_v2_imagenet_from_torchvision_quant.pth": (
        *((0.0013, 0, 0, 0.5711, 0, 0), 20.5090, 0.2274),
    ),
}  # fmt: skip
Run = Callable[..., tuple[int, str]]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run a command on the cache here with random weights; return its exit code and errors."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("AVPIPE_DEVICE", "cpu")

    def run(words: str, *more: str) -> tuple[int, str]:
        capsys.readouterr()
        code = main([*words.split(), *(more or ("--weights", "random"))])
        return code, capsys.readouterr().err

    return run


@pytest.mark.parametrize("name", FILES)
def test_the_map_has_the_known_values(name: str) -> None:
    if not (MODELS / name).is_file():
        pytest.skip(f"no ../shared/real/models/{name} beside the checkout")
    row, column = np.mgrid[:224, :224]
    planes = [
        np.sin(row / 7) * np.cos(column / 11),
        np.cos(row / 5) * np.sin(column / 13),
        np.sin((row + column) / 17),
    ]
    given = torch.from_numpy(np.stack(planes)[None].astype(np.float32))
    with torch.inference_mode():
        found = mobilenet_v2.load_features(Weights((MODELS / name,), "x"))(given)
    first, norm, mean = FILES[name]
    assert found.shape == (1, 1280, 7, 7)
    pooled = found.mean((2, 3))[0]
    np.testing.assert_allclose(pooled[:6], first, atol=1e-3)
    assert float(pooled.norm()) == pytest.approx(norm, abs=1e-3)
    assert float(found.mean()) == pytest.approx(mean, abs=1e-3)
    assert float(found.max()) == 6


@pytest.mark.parametrize("size_px", [224, 448])
def test_a_frame_is_squashed_normalised_and_seen(size_px: int, tmp_path: Path) -> None:
    torch.manual_seed(3)
    net = torchvision.models.mobilenet_v2()
    for module in net.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.uniform_(-0.1, 0.1)
            module.weight.data.uniform_(2, 4)
    path = tmp_path / "mobilenet.pth"
    torch.save(net.state_dict(), path)  # with its classifier, as torchvision's files
    frame = np.random.default_rng(0).integers(0, 256, (50, 90, 3), dtype=np.uint8)
    teacher = load_teacher(at_size("mobilenet-v2", size_px))
    given = teacher.prepare(frame)[None]
    value = teacher.build(Weights((path,), "x"), "cpu")(given)["value"]
    picture = Image.fromarray(frame).resize((size_px, size_px), Image.Resampling.BILINEAR)
    pixels = (np.asarray(picture) / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    x = torch.from_numpy(pixels).float().permute(2, 0, 1)[None]
    with torch.inference_mode():
        for layer in net.eval().features:
            x = layer(x)
    assert value.shape == (1, *teacher.COLUMNS["value"][1]) == tuple(x.shape)
    assert value.astype(np.float32).std() > 0.01
    np.testing.assert_allclose(value, x, atol=4e-3)


def test_the_files_are_torchvisions() -> None:
    official = torchvision.models.MobileNet_V2_Weights
    (file,), (other,) = mobilenet_v2.FILES, mobilenet_v2.OTHER_FILES
    assert file.url == official.IMAGENET1K_V1.url
    assert other.url == official.IMAGENET1K_V2.url
    for one in (file, other):
        assert one.known_hash is not None
        assert f"-{one.known_hash.removeprefix('sha256:')}.pth" in one.url
        assert one.url.endswith(one.name)


def test_random_weights_see() -> None:
    teacher = load_teacher("mobilenet-v2")
    frames = np.random.default_rng(0).integers(0, 256, (2, 224, 224, 3), dtype=np.uint8)
    frames[1, :, 112:] = 0
    one, other = teacher.build(Weights((), "random", 0), "cpu")(frames)["value"].astype(float)
    assert 0.05 < one.mean() < 5
    assert np.linalg.norm(one - other) > 0.1 * np.linalg.norm(one)


@pytest.mark.parametrize("size_px", [224, 448])
def test_cells_lie_at_the_corners_of_tiles(size_px: int) -> None:
    features = mobilenet_v2.load_features(Weights((), "random", 0))
    name = at_size("mobilenet-v2", size_px)
    cells = load_teacher(name).COLUMNS["value"][1][1]
    np.testing.assert_array_equal(cell_centres(features, size_px), 32 * np.arange(cells))
    assert load_teacher(name).PARAMS["cells"] == "corners"


def test_every_map_says_where_its_cells_lie() -> None:
    for name in choices("visual"):
        teacher = load_teacher(name)
        is_map = len(teacher.COLUMNS["value"][1]) == 3
        assert getattr(teacher, "CELLS", None) == ("corners" if is_map else None), name
    assert load_teacher("detr-r50", "objects").CELLS == "corners"  # type: ignore[attr-defined]
    assert "cells" not in load_teacher("detr-r50").PARAMS  # maps that are stored stay valid


def test_a_size_is_part_of_the_name() -> None:
    assert at_size("mobilenet-v2", 224) == "mobilenet-v2"
    assert at_size("mobilenet-v2", 448) == "mobilenet-v2-448"
    assert network_of("mobilenet-v2-448") == without_size("mobilenet-v2-448") == "mobilenet-v2"
    assert modality_of("mobilenet-v2-448") == "visual"
    assert without_size("detr-r50-encoder") == "detr-r50-encoder"
    plain, sized = load_teacher("mobilenet-v2"), load_teacher("mobilenet-v2-448")
    assert {**plain.PARAMS, "image_size": 448} == sized.PARAMS
    assert (sized.VERSION, sized.READS, sized.FILES) == (plain.VERSION, "frame", plain.FILES)
    for name in ("mobilenet-v2-224", "mobilenet-v2-450", "mobilenet-v2-64", "mobilenet-v2-1056"):
        with pytest.raises(UsageError, match="multiple of 32 from 96 to 1024"):
            load_teacher(name)
    for name in ("mobilenet-v2-0448", "panns-cnn14-448", "mobilenet-v2-448-448"):
        with pytest.raises(UsageError, match=f"no teacher is called '{name}'"):
            load_teacher(name)


def test_two_sizes_lie_side_by_side_and_serve_knn(tmp_path: Path, run: Run) -> None:
    make_cache(tmp_path / "avcache", 4)
    words = "embed-teachers --audio none --visual mobilenet-v2"
    assert run(words)[0] == 0
    assert run(f"{words} --visual-size 96")[0] == 0
    assert run("embed-teachers --audio none --visual mobilenet-v2-96")[0] == 0  # nothing is left
    cache = Cache(tmp_path / "avcache")
    header = read_header(cache.path / "hints/mobilenet-v2-96/0000000.h5")
    assert header.params["image_size"] == 96
    assert header.fingerprint != read_header(
        cache.path / "hints/mobilenet-v2/0000000.h5").fingerprint  # fmt: skip
    whole = cache.column("hints/mobilenet-v2")[2].astype(np.float32)
    tiny = cache.column("hints/mobilenet-v2-96")[2].astype(np.float32)
    assert (whole.shape, tiny.shape) == ((1280, 7, 7), (1280, 3, 3))
    expected = load_teacher("mobilenet-v2-96").prepare(cache.clip("clip002").frame)
    network = load_teacher("mobilenet-v2").build(Weights((), "random", 0), "cpu")
    np.testing.assert_allclose(tiny, network(expected[None])["value"][0], atol=4e-3)
    for name in ("mobilenet-v2", "mobilenet-v2-96"):
        assert run(f"knn --k 2 --image {name} --audio none")[0] == 0
        rows, _ = cache.neighbors(f"image-{name}")[2]
        pooled = [
            cache.column(f"hints/{name}")[row].astype(np.float64).mean((1, 2)) for row in range(4)
        ]
        unit = np.stack([vector / np.linalg.norm(vector) for vector in pooled])
        order = sorted((row for row in range(4) if row != 2), key=lambda row: -unit[row] @ unit[2])
        assert rows.tolist() == order[:2]
    assert not [stage for stage in stages(cache.path) if stage.startswith("embeddings/")]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--visual detr-r50 --visual-size 448", "detr-r50 sees frames at its own size only"),
        ("--visual imagenet-resnet18 --visual-size 448", "not at 448 px; mobilenet-v2 can"),
        ("--visual mobilenet-v2 --visual-size 450", "another multiple of 32 from 96 to 1024"),
        ("--visual mobilenet-v2 --visual-hint encoder", "mobilenet-v2 has no such output"),
        ("--visual none --visual-size 448", "--visual-size 448: there is no visual teacher"),
        ("--visual mobilenet-v3", "is no visual teacher: one of detr-r50, "),
    ],
)
def test_sizes_that_cannot_be_are_refused_in_one_line(
    words: str, message: str, tmp_path: Path, run: Run
) -> None:
    make_cache(tmp_path / "avcache", 2)
    code, told = run(f"embed-teachers --audio panns-cnn14 {words}")
    assert code == 2
    assert len(told.strip().splitlines()) == 1 and message in told
    assert "hints/panns-cnn14" not in stages(tmp_path / "avcache")


def test_another_networks_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "wide.pth"
    torch.save(torchvision.models.mobilenet_v2(width_mult=0.5).state_dict(), path)
    with pytest.raises(MissingDependencyError, match=r"not the weights of MobileNetV2: has of ano"):
        mobilenet_v2.load_features(Weights((path,), "x"))
