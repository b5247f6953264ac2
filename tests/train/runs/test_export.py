"""An exported run loads without avpipe and gives the same maps."""

import hashlib
import json
import os
import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.signal
import torch
import torchvision
from avpipe.errors import InputError, UsageError
from avpipe.pipeline.main import main
from avpipe.train import load_run
from avpipe.train.data.columns import Inputs
from avpipe.train.learner import build_student
from avpipe.train.nets.geometry import cell_centres
from avpipe.train.objectives import load_objective
from avpipe.train.recipe import load_recipe
from avpipe.train.runs.checkpoint import save_checkpoint
from avpipe.train.runs.export import export_run
from avpipe.train.runs.record import RunRecord, write_record
from avpipe.train.runs.verify import verify_runs
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F

pytestmark = pytest.mark.usefixtures("one_thread")
PAGE = (Path(__file__).parents[3] / "docs/checkpoints.md").read_text(encoding="utf-8")
RUNS = {
    "slavc": ["image_size=96", "image_resize=96", "image_init=scratch", "width=16", "embed_dim=64"],
    "lvs": ["image_size=64", "image_resize=64", "spectrogram=16k-257x200", "width=16"],
    "compact": ["width=16", "projection=mlp"],
    "ez-vsl": ["image_encoder=mobilenet-v2", "image_init=scratch", "image_size=96", "width=16",
               "image_resize=96", "embed_dim=64"],
}  # fmt: skip


def write_run(folder: Path, name: str) -> Path:
    """Write a run with random weights and statistics, as after some steps."""
    recipe = load_recipe(name, RUNS[name])
    student = build_student(recipe, load_objective(recipe.objective), 0, Inputs())
    torch.manual_seed(1)
    for module in student.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 1.5)
    save_checkpoint(folder, 5, student.state_dict(), {})
    write_record(folder, RunRecord(recipe, name, 0, "avcache", "d", 4, ("a", "b"), {"torch": "x"}))
    return folder


@pytest.fixture(scope="module", params=list(RUNS))
def run_dir(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_run(tmp_path_factory.mktemp(request.param) / request.param, request.param)


def residual(w: dict[str, Tensor], x: Tensor, name: str, kernels: tuple[int, int], stride: int,
             pooled: bool) -> Tensor:  # fmt: skip
    """A block of the compact encoder, from its tensors alone."""

    def norm(x: Tensor, at: str) -> Tensor:
        mean, var, weight, bias = (
            w[f"{name}.{at}.{key}"] for key in ("running_mean", "running_var", "weight", "bias")
        )
        return F.batch_norm(x, mean, var, weight, bias)

    y = F.conv2d(x, w[f"{name}.conv1.weight"], stride=stride, padding=(kernels[0] - 1) // 2)
    y = F.relu(norm(y, "bn1"))
    y = norm(F.conv2d(y, w[f"{name}.conv2.weight"], padding=(kernels[1] - 1) // 2), "bn2")
    if pooled:
        x = norm(F.conv2d(F.avg_pool2d(x, 2), w[f"{name}.downsample.1.weight"]), "downsample.2")
    return F.relu(y + x)


def compact_map(w: dict[str, Tensor], x: Tensor) -> Tensor:
    """The compact encoder, written out."""
    x = F.conv2d(x, w["conv1.weight"], stride=2, padding=2)
    parts = (w[f"bn1.{key}"] for key in ("running_mean", "running_var", "weight", "bias"))
    x = F.max_pool2d(F.relu(F.batch_norm(x, *parts)), 2)
    x = residual(w, x, "layer1.0", (3, 1), 1, False)
    x = residual(w, x, "layer1.1", (1, 1), 1, False)
    x = residual(w, x, "layer2.0", (4, 1), 2, True)
    return residual(w, x, "layer2.1", (1, 1), 1, False)


def resnet_map(w: dict[str, Tensor], x: Tensor, channels: int, stride: int, width: int) -> Tensor:
    """Torchvision's ResNet18 without its end."""
    torchvision_net: Any = torchvision.models.ResNet(
        torchvision.models.resnet.BasicBlock, [2, 2, 2, 2]
    )
    for name, module in list(torchvision_net.named_modules())[2:]:  # thinner, layer by layer
        parent, _, key = name.rpartition(".")
        at = torchvision_net.get_submodule(parent)
        if isinstance(module, nn.Conv2d):
            sizes = module.in_channels * width // 64, module.out_channels * width // 64
            shape = module.kernel_size, module.stride, module.padding
            setattr(at, key, nn.Conv2d(*sizes, *shape, bias=False))
        elif isinstance(module, nn.BatchNorm2d):
            setattr(at, key, nn.BatchNorm2d(module.num_features * width // 64))
    torchvision_net.conv1 = nn.Conv2d(channels, width, 7, 2, 3, bias=False)
    block = torchvision_net.layer4[0]
    block.conv1.stride = block.downsample[0].stride = (stride, stride)
    torchvision_net.fc = nn.Identity()
    torchvision_net.load_state_dict(w)
    torchvision_net.eval()
    for name, module in torchvision_net.named_children():
        if name not in ("avgpool", "fc"):
            x = module(x)
    return x


def part(weights: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {k.removeprefix(prefix): v for k, v in weights.items() if k.startswith(prefix)}


def example(kind: str, rate_hz: int) -> tuple[np.ndarray, np.ndarray]:
    """A frame and 3 s of sound at the run's rate."""
    rng = np.random.default_rng(3)
    frame = rng.integers(0, 256, (70, 110, 3)).astype(np.uint8)
    sound = np.cumsum(rng.standard_normal(3 * rate_hz)) * 0.01
    return frame, np.clip(sound - sound.mean(), -1, 1).astype(np.float32)


def test_torch_and_torchvision_alone_give_the_same_map(run_dir: Path, tmp_path: Path) -> None:
    files = export_run(run_dir, tmp_path)
    model = json.loads(files["description"].read_text())
    weights = load_file(files["weights"])
    assert hashlib.sha256(files["weights"].read_bytes()).hexdigest() == model["weights"]["sha256"]
    frame, sound = example(run_dir.name, model["audio"]["rate_hz"])
    side, audio, recipe = model["image"]["size_px"], model["audio"], model["recipe"]
    pixels = np.asarray(Image.fromarray(frame).resize((side, side), Image.Resampling.BICUBIC))
    pixels = (pixels / 255 - np.array(model["image"]["mean"])) / np.array(model["image"]["std"])
    x = torch.from_numpy(pixels).float().permute(2, 0, 1)[None]
    overlap = audio["segment"] - audio["hop"]
    power = scipy.signal.spectrogram(sound, audio["rate_hz"], nperseg=512, noverlap=overlap)[2]
    log = torch.from_numpy(np.log(power.astype(np.float64) + 1e-7)).float()[None, None]
    heard = (F.avg_pool2d(log, audio["pool"]) - audio["mean"]) / audio["std"]
    with torch.inference_mode():
        eye = part(weights, "image_encoder.")
        if run_dir.name == "compact":
            cells = compact_map(eye, x)
        elif run_dir.name == "ez-vsl":
            theirs = torchvision.models.mobilenet_v2().eval()
            theirs.features.load_state_dict(part(eye, "features."))
            cells = theirs.features(x)
        else:
            cells = resnet_map(eye, x, 3, recipe["last_stride"], recipe["width"])
        ear = part(weights, "audio_encoder.")
        features = resnet_map(ear, heard, 1, recipe["audio_last_stride"], recipe["width"])
        vector, cosines = features.amax((2, 3)), []
        for head in range({"slavc": 2}.get(run_dir.name, 1)):
            v, a = part(weights, f"image_heads.{head}."), part(weights, f"audio_heads.{head}.")
            see, hear = cells, vector
            for at in {"lvs": [], "compact": ["0.", "2."]}.get(run_dir.name, [""]):
                if at == "2.":
                    see, hear = F.relu(see), F.relu(hear)
                see = F.conv2d(see, v[f"{at}weight"], v[f"{at}bias"])
                hear = F.linear(hear, a[f"{at}weight"], a[f"{at}bias"])
            cosines.append(torch.einsum("dhw,d->hw", F.normalize(see)[0], F.normalize(hear)[0]))
        found = torch.stack(cosines).mean(0).numpy()
    run = load_run(run_dir, "cpu")
    expected = np.einsum(
        "dhw,d->hw", run.embed_frame(frame), run.embed_audio(sound, audio["rate_hz"])
    )
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert np.ptp(expected) > 1e-3
    centres = model["map"]["centres_px"]
    assert centres == run.centres_px.tolist() and len(centres) == found.shape[0]
    if run_dir.name == "slavc":
        assert centres == [32.0 * i for i in range(3)]


def test_the_pages_example_runs_without_avpipe(
    run_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (command,) = re.findall(r"(?m)^\$ avpipe (export .*)$", PAGE)
    (block,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    assert main(command.replace("runs/first", str(run_dir)).split()) == 0
    run = load_run(run_dir, "cpu")
    rate_hz = 22050 if run_dir.name != "lvs" else 16000
    frame, sound = example(run_dir.name, rate_hz)
    Image.fromarray(frame).save(tmp_path / "frame.png")
    np.save(tmp_path / "sound.npy", sound)
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "avpipe", None)
        exec(compile(block, "docs/checkpoints.md", "exec"), {})
    side = run.recipe.image_size
    expected = run.localize(frame, sound, rate_hz, size=(side, side))
    np.testing.assert_allclose(np.load("map.npy"), expected, atol=1e-5)


def test_every_tensor_is_described(run_dir: Path, tmp_path: Path) -> None:
    files = export_run(run_dir, tmp_path)
    text = files["description"].read_text()
    named = set(re.findall(r'"name": "([\w.]+)"', text))
    assert {name.rpartition(".")[0] for name in load_file(files["weights"])} <= named
    model = json.loads(text)
    assert model["provenance"]["num_ids"] == 2 and model["provenance"]["step"] == 5
    assert model["provenance"]["weights_of"] == {"slavc": "momentum", "compact": "ema"}.get(
        run_dir.name, "online"
    )


def test_the_command_says_where_the_files_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    write_run(Path("run"), "compact")
    assert main(["export", "run", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["weights"] == "run/export/model.safetensors"
    assert document["bytes"] == sum(path.stat().st_size for path in Path("run/export").iterdir())
    before = Path(document["weights"]).read_bytes()
    assert main(["export", "run"]) == 0
    assert Path(document["weights"]).read_bytes() == before
    Path("file").touch()
    assert main(["export", "run", "--out", "file"]) == 2
    assert main(["export", "nowhere"]) == 4
    assert "avpipe: error: nowhere holds no run" in capsys.readouterr().err
    assert len(cell_centres(load_run("run", "cpu")._model.image_encoder, 96)) == 12


def test_an_export_replaces_nothing_but_an_export(tmp_path: Path) -> None:
    run = write_run(tmp_path / "a", "compact")
    other = write_run(tmp_path / "b", "compact")
    (tmp_path / "begun").mkdir()
    (tmp_path / "begun" / "run.json").write_bytes((other / "run.json").read_bytes())
    (tmp_path / "hers").mkdir()
    for name in ("model.safetensors", "model.json", "README.md"):  # as others name theirs
        (tmp_path / "hers" / name).write_text("hers")
    (tmp_path / "clone" / ".git").mkdir(parents=True)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    for out in ("b", "begun", "hers"):
        with pytest.raises(UsageError, match=f"{out} is not empty, and holds no export: name"):
            export_run(run, tmp_path / out)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before
    files = export_run(run, tmp_path / "clone")
    for lost in (
        ["weights"],
        ["description", "weights"],
        ["record", "card"],
        ["description", "weights", "card"],
    ):
        for name in lost:
            files[name].unlink()
        assert all(path.is_file() for path in export_run(run, tmp_path / "clone").values())


def test_a_run_may_lie_where_names_are_no_utf_8(tmp_path: Path) -> None:
    run = write_run(tmp_path / os.fsdecode(b"run\xff"), "compact")
    card = export_run(run, tmp_path / "out")["card"].read_text("utf-8")
    assert "\n# run\\udcff\n" in card
    assert verify_runs(tmp_path / "out").damaged == {}


def test_a_run_that_only_hears_has_nothing_to_export(tmp_path: Path) -> None:
    recipe = load_recipe("spm-audio", [])
    write_record(tmp_path, RunRecord(recipe, "spm-audio", 0, "", "d", 4, (), {}))
    with pytest.raises(InputError, match="only classifies sounds"):
        export_run(tmp_path, tmp_path / "out")
    assert not (tmp_path / "out").exists()
