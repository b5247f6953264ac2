"""Files with the released names and shapes become runs, whose maps are those of the formulas."""

import io
import itertools
import json
import pickle
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.signal
import soxr
import torch
import torchvision.transforms.functional as tvf
from avpipe.cache.store import Cache, CachedClip
from avpipe.errors import UsageError
from avpipe.pipeline.main import main
from avpipe.train import load_run
from avpipe.train.data.clips import AT_TEST
from avpipe.train.runs import peers
from avpipe.train.runs.peers import import_checkpoint
from avpipe.train.runs.record import read_record
from cache_factory import make_cache
from evaluation_factory import write_world
from peer_factory import (
    HEADS,
    cosine_maps,
    network_of,
    released_state,
    slower,
    write_released,
)
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor

pytestmark = pytest.mark.usefixtures("one_thread")
TENSORS = {"ez-vsl": 244, "slavc": 496, "lvs": 248, "ssl-alignment": 248}
SOUND = {  # rate, hop, seconds
    "ez-vsl": (22050, 238, 3), "slavc": (22050, 238, 3),
    "lvs": (16000, 238, 10), "ssl-alignment": (16000, 159, 3),
}  # fmt: skip


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Cache:
    return make_cache(tmp_path_factory.mktemp("cache"), 2, frame_hw=(256, 340))


@pytest.fixture(scope="module")
def ez_vsl(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    """A file of EZ-VSL, and the network it was made of."""
    network = network_of("ez-vsl")
    return write_released(tmp_path_factory.mktemp("released"), "ez-vsl", network), network


def seen(clip: CachedClip, peer: str) -> Tensor:
    """By hand: the whole frame at 224 x 224, by Pillow or as a tensor that is not smoothed."""
    frame = Image.fromarray(clip.frame)
    if peer == "ssl-alignment":
        bicubic = tvf.InterpolationMode.BICUBIC
        pixels = tvf.resize(tvf.to_tensor(frame), [224, 224], bicubic, antialias=False)
    else:
        pixels = tvf.to_tensor(frame.resize((224, 224), Image.Resampling.BICUBIC))
    return tvf.normalize(pixels, [0.485, 0.456, 0.406], [0.229, 0.224, 0.225])


def heard(clip: CachedClip, peer: str) -> Tensor:
    """By hand: the middle of the sound, or all of it repeated; scipy's spectrogram by 12."""
    rate_hz, hop, seconds = SOUND[peer]
    assert clip.waveform is not None
    sound = soxr.resample(clip.waveform / np.float32(32767), 32000, rate_hz, quality="HQ")
    start = max(0, len(sound) - rate_hz * seconds) // 2
    window = np.resize(sound[start : start + rate_hz * seconds], rate_hz * seconds)
    power = scipy.signal.spectrogram(window, rate_hz, nperseg=512, noverlap=512 - hop)[2]
    return torch.from_numpy(np.log(power + 1e-7) / 12)[None].float()


@pytest.mark.parametrize(
    "peer", ["ez-vsl", "slavc", "ssl-alignment", pytest.param("lvs", marks=pytest.mark.slow)]
)
def test_an_imported_run_gives_the_maps_of_the_formulas(
    peer: str, cache: Cache, tmp_path: Path
) -> None:
    network = network_of(peer)
    slow = slower(network) if peer == "slavc" else None
    path = write_released(tmp_path, peer, network, slow)
    record, was_there = import_checkpoint(path, peer, tmp_path / "run")
    assert not was_there and record.imported is not None
    assert record.imported["tensors"] == TENSORS[peer] and record.imported["from"] == peer
    clips = [cache.clip(name) for name in cache.ids]
    frames = torch.stack([seen(clip, peer) for clip in clips])
    sounds = torch.stack([heard(clip, peer) for clip in clips])
    branches = {"online": network, "momentum": slow} if slow is not None else {None: network}
    for branch, weights in branches.items():
        run = load_run(tmp_path / "run", "cpu", branch)
        expected = cosine_maps(weights, frames, sounds)
        assert expected.shape[1] == (14 if "audnet.conv1_a.weight" in network.state_dict() else 7)
        for clip, one in zip(clips, expected, strict=True):
            assert clip.waveform is not None
            shown = run.localize(clip.frame, clip.waveform, clip.waveform_rate_hz)
            smooth = run.upsample(one[None].astype(np.float32))[0]
            # Frames stay bytes: the tensor that alignment resizes is rounded here.
            atol = 1e-3 if peer == "ssl-alignment" else 2e-4
            np.testing.assert_allclose(shown, smooth, atol=atol)
        found = run.maps(cache, cache.rows)
        if peer in HEADS:  # the cache holds what they hear, drawn anew
            stored = torch.stack([torch.from_numpy(clip.spectrogram)[None] / 12 for clip in clips])
            expected = cosine_maps(weights, frames, stored)
        np.testing.assert_allclose(found, expected, atol=2e-3)


def test_frames_are_resized_in_three_ways(cache: Cache) -> None:
    """Torchvision by hand: what is seen differs by more than rounding."""
    frame = Image.fromarray(cache.clip("clip001").frame)
    made = {how: resize(frame, (224, 224)).astype(int) for how, resize in AT_TEST.items()}
    bicubic = tvf.InterpolationMode.BICUBIC
    pixels = tvf.resize(tvf.pil_to_tensor(frame).float(), [224, 224], bicubic, antialias=False)
    assert np.abs(made["tensor"] - pixels.clamp(0, 255).permute(1, 2, 0).numpy()).max() <= 0.501
    middle = tvf.center_crop(tvf.resize(frame, 224, bicubic), [224, 224])
    assert np.array_equal(made["crop"], np.asarray(middle))
    for one, other in itertools.combinations(made, 2):
        assert np.abs(made[one] - made[other]).mean() > 3, (one, other)


def test_a_variant_is_told_by_its_name_or_by_the_user(tmp_path: Path) -> None:
    network = network_of("ssl-alignment")
    path = write_released(tmp_path, "ssl-alignment", network)
    record, _ = import_checkpoint(path, "ssl-alignment", tmp_path / "one")
    assert (
        record.recipe_name == "ssl-alignment-sup-previs" and record.recipe.image_init == "imagenet"
    )
    assert record.imported and "all rights reserved" in record.imported["licence"]
    record, _ = import_checkpoint(path, "ssl-alignment", tmp_path / "two", variant="selfsup")
    assert record.recipe_name == "ssl-alignment-selfsup"
    with pytest.raises(UsageError, match="--variant x: ssl-alignment has sup, selfsup, sup-previs"):
        import_checkpoint(path, "ssl-alignment", tmp_path / "three", variant="x")
    state = {**released_state("ssl-alignment", network), "proj_v.weight": torch.zeros(3)}
    torch.save({"model_state_dict": state}, tmp_path / "any.pth.tar")
    record, _ = import_checkpoint(tmp_path / "any.pth.tar", "ssl-alignment", tmp_path / "four")
    assert record.imported and record.imported["variant"] is None
    assert "proj_v.weight" in record.imported["left_out"]
    assert len(record.imported["left_out"]) == 2 * 4 + 1


Change = Callable[[dict[str, Tensor]], dict[str, Tensor]]


@pytest.mark.parametrize("form", ["bare", "safetensors", "old"])
def test_other_forms_of_the_same_weights(
    form: str, ez_vsl: tuple[Path, Any], tmp_path: Path
) -> None:
    state = {name: value.clone() for name, value in ez_vsl[1].state_dict().items()}
    if form == "old":
        state = {name: v for name, v in state.items() if "num_batches" not in name}
    path = tmp_path / ("w.safetensors" if form == "safetensors" else "w.pth")
    save_file(state, path) if form == "safetensors" else torch.save(state, path)
    weights, _ = peers.read_released(path, "ez-vsl", peers.load_recipe("ez-vsl"))
    for name, value in state.items():
        ours = name.replace("imgnet", "online.image_encoder").replace(
            "audnet", "online.audio_encoder"
        )
        ours = ours.replace("img_proj", "online.image_heads.0")
        assert torch.equal(weights[ours.replace("aud_proj", "online.audio_heads.0")], value)


def drop(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: value for name, value in state.items() if "layer3.1.conv2" not in name}


def reshape(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {**state, "module.aud_proj.weight": torch.zeros(256, 512)}


def spoil(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {**state, "module.img_proj.bias": torch.full((512,), torch.nan)}


@pytest.mark.parametrize(
    ("change", "part"),
    [
        (drop, "lacks audnet.layer3.1.conv2.weight, imgnet.layer3.1.conv2.weight"),
        (
            lambda state: {**state, "module.extra.weight": torch.zeros(1)},
            "has unknown extra.weight",
        ),
        (reshape, "has of another shape aud_proj.weight (256, 512) instead of (512, 512)"),
        (spoil, "not finite in img_proj.bias"),
    ],
)
def test_other_names_or_shapes_are_refused_and_leave_nothing(
    change: Change,
    part: str,
    ez_vsl: tuple[Path, Any],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    state = change(released_state("ez-vsl", ez_vsl[1]))
    torch.save({"model": state}, tmp_path / "best.pth")
    refused(tmp_path / "best.pth", "ez-vsl", 6, part, capsys)


WEIGHT = torch.full((512, 512), 0.5)
ODD = {
    "sparse": WEIGHT.to_sparse(),
    "quantized": torch.quantize_per_tensor(WEIGHT, 0.1, 0, torch.qint8),
    "meta": WEIGHT.to("meta"),
    "complex": WEIGHT.to(torch.complex64),
    "float8": WEIGHT.to(torch.float8_e4m3fn),
}


@pytest.mark.parametrize("kind", ODD)
def test_tensors_without_plain_numbers_are_refused(
    kind: str, ez_vsl: tuple[Path, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    state = {**released_state("ez-vsl", ez_vsl[1]), "module.aud_proj.weight": ODD[kind]}
    torch.save({"model": state}, tmp_path / "best.pth")
    refused(tmp_path / "best.pth", "ez-vsl", 6, "aud_proj.weight", capsys)


def test_tensors_that_share_their_memory_are_taken(
    ez_vsl: tuple[Path, Any], tmp_path: Path
) -> None:
    state = released_state("ez-vsl", ez_vsl[1])
    state["module.img_proj.bias"] = state["module.aud_proj.bias"]
    torch.save({"model": state}, tmp_path / "best.pth")
    import_checkpoint(tmp_path / "best.pth", "ez-vsl", tmp_path / "run")
    assert load_run(tmp_path / "run", "cpu").record.imported


def refused(
    path: Path, peer: str, code: int, part: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """See that a file is refused in one line that names it, and nothing is written."""
    before = set(path.parent.iterdir())
    words = ["import-checkpoint", str(path), "--from", peer, "--run", str(path.parent / "run")]
    assert main(words) == code
    captured = capsys.readouterr()
    assert captured.out == "" and captured.err.count("\n") == 1
    assert str(path) in captured.err and part in captured.err
    assert set(path.parent.iterdir()) == before


class Harmful:
    def __reduce__(self) -> tuple[Any, ...]:
        return print, ("a program ran",)


@pytest.mark.parametrize(
    ("content", "part"),
    [
        (b"", "is empty"),
        (b"<html>", "is a web page"),
        (b"\xff\xd8\xff\xe0 a picture", "is no checkpoint of PyTorch or safetensors"),
        (pickle.dumps({"model": Harmful()}), "holds more than tensors"),
        ({"model": {"module.fc.weight": torch.zeros(1)}, "epoch": 1}, "not the weights of ez-vsl"),
        ({"epoch": 1}, "has no 'model' (it has epoch)"),
        ({"model": {"lr": 0.1}}, "'model' holds more than named tensors"),
    ],
)
def test_files_that_are_no_checkpoints_are_refused(
    content: Any, part: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    buffer = io.BytesIO()
    if not isinstance(content, bytes):
        torch.save(content, buffer)
    (tmp_path / "w.pth").write_bytes(content if isinstance(content, bytes) else buffer.getvalue())
    code = 4 if "named tensors" in part else 6
    refused(tmp_path / "w.pth", "ez-vsl", code, part, capsys)


def test_a_peers_file_is_not_anothers(
    ez_vsl: tuple[Path, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "best.pth").symlink_to(ez_vsl[0])
    refused(tmp_path / "best.pth", "slavc", 6, "not the weights of slavc: lacks aud_proj1", capsys)
    refused(tmp_path / "best.pth", "lvs", 6, "has no 'model_state_dict' (it has", capsys)
    assert main(["import-checkpoint", "x", "--run", "r"]) == 2
    assert "--from, --run" in capsys.readouterr().err
    assert main(["import-checkpoint", "x", "--from", "fnac", "--run", "r"]) == 2
    assert "--from fnac: one of slavc, ez-vsl, lvs, ssl-alignment" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("peer", "setting"),
    [
        ("ez-vsl", "hints=audio"),
        ("ez-vsl", "objective=slavc"),
        ("ez-vsl", "objective=spm"),
        ("ez-vsl", "ema=0.5"),
        ("ez-vsl", "momentum=0.9"),
        ("ez-vsl", "projection=mlp"),
        ("lvs", "projection=linear"),
        ("ssl-alignment", "pooled_projection=linear"),
    ],
)
def test_a_setting_that_wants_other_weights_is_named(
    peer: str, setting: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "best.pth"
    file.touch()
    words = ["import-checkpoint", str(file), "--from", peer, "--run", str(tmp_path / "run")]
    assert main([*words, "--set", "image_test=crop", "--set", setting]) == 2
    told = capsys.readouterr().err
    assert f"--set {setting}: wants weights that the files of {peer} do not hold" in told
    assert list(tmp_path.iterdir()) == [file]


def test_weights_of_fewer_networks_are_taken(tmp_path: Path) -> None:
    network = network_of("slavc")
    path = write_released(tmp_path, "slavc", network)
    settings = ["momentum=0", "test_weights=online"]
    record, _ = import_checkpoint(path, "slavc", tmp_path / "run", settings=settings)
    assert record.imported and record.imported["tensors"] == TENSORS["slavc"] // 2


def test_an_empty_training_list_is_called_by_its_option(
    ez_vsl: tuple[Path, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "none.txt").touch()
    words = ["import-checkpoint", str(ez_vsl[0]), "--from", "ez-vsl", "--run", str(tmp_path / "r")]
    assert main([*words, "--trained-on", str(tmp_path / "none.txt")]) == 4
    assert f"--trained-on {tmp_path / 'none.txt'} names no clip" in capsys.readouterr().err


def test_an_import_is_done_once_and_never_over_another_run(
    ez_vsl: tuple[Path, Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    path = ez_vsl[0]
    Path("list.txt").write_text("clip000\nclip002\n")
    words = ["import-checkpoint", str(path), "--from", "ez-vsl", "--run"]

    def killed(*given: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(peers, "write_record", killed)
        assert main([*words, "run"]) == 130
    assert [item.name for item in tmp_path.iterdir()] == ["list.txt"]
    assert main([*words, "run", "--trained-on", "list.txt", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert (document["done"], document["tensors"], document["trained_on"]) == (1, 244, "2 clips")
    assert read_record(Path("run")).ids == ("clip000", "clip002")
    stamp = Path("run/run.json").stat().st_mtime_ns
    assert main([*words, "run", "--trained-on", "list.txt"]) == 0
    assert "skipped" in capsys.readouterr().out
    assert Path("run/run.json").stat().st_mtime_ns == stamp
    assert main([*words, "run", "--set", "image_test=crop"]) == 5
    assert "run holds another run: recipe is not the same" in capsys.readouterr().err
    weights = Path("run/checkpoints/00000000/weights.safetensors")
    whole = weights.read_bytes()
    weights.write_bytes(whole[:-1])
    assert main(["verify", "run", "--json"]) == 5
    removed, made = json.loads(capsys.readouterr().out)["commands"]
    assert removed == "rm -r run/checkpoints/00000000"
    shutil.rmtree(weights.parent)
    again = made.partition("  # ")[0]
    assert main([*shlex.split(again)[1:], "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["done"] == 1
    assert weights.read_bytes() == whole and main(["verify", "run"]) == 0
    Path("full").mkdir()
    Path("full/notes.txt").touch()
    assert main([*words, "full"]) == 2
    assert "full is there and holds no run" in capsys.readouterr().err
    assert sorted(item.name for item in tmp_path.iterdir()) == ["full", "list.txt", "run"]


@pytest.mark.slow
def test_an_imported_run_is_evaluated_and_localizes_like_ours(
    ez_vsl: tuple[Path, Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    make_cache(Path("avcache"), 14, first=14)
    world = tmp_path / "world"
    world.mkdir()
    write_world(world)
    words = ["import-checkpoint", str(ez_vsl[0]), "--from", "ez-vsl", "--run", "run"]
    assert main(words) == 0
    capsys.readouterr()
    assert main(["evaluate", "run", "--annotations", str(world), "--json"]) == 0
    (entry,) = json.loads(capsys.readouterr().out)["runs"]
    assert entry["n_scored"] == 8 and 0 <= entry["scores"]["av"]["auc"] <= 1
    Path("ids.txt").write_text("clip014\n")
    assert main(["localize", "--ids", "ids.txt", "--run", "run", "--json"]) == 0
    (picture,) = json.loads(capsys.readouterr().out)["pictures"]
    assert Path(picture).read_bytes()[:4] == b"\x89PNG"
