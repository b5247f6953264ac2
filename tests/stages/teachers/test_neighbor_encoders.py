"""ImageNet's and VGGSound's ResNet18: released names in, pooled 512 numbers out."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.signal
import torch
import torchvision
from avpipe.errors import MissingDependencyError, UsageError
from avpipe.stages.teachers.audio import vggsound_resnet18, vggsound_resnet18_vlad
from avpipe.stages.teachers.protocol import choices, load_teacher, modality_of, network_of
from avpipe.stages.teachers.visual import imagenet_resnet18
from avpipe.weights import Weights


def trained(in_channels: int, num_classes: int) -> torch.nn.Module:
    torch.manual_seed(2)
    net = torchvision.models.resnet18(num_classes=num_classes)
    net.conv1 = torch.nn.Conv2d(in_channels, 64, 7, stride=2, padding=3, bias=False)
    for name, buffer in net.named_buffers():
        if "running_mean" in name:
            buffer.uniform_(-0.1, 0.1)
    return net.eval()


def pooled(net: torch.nn.Module, batch: torch.Tensor) -> np.ndarray:
    """Run the layers one by one and average the last map."""
    with torch.inference_mode():
        x = net.maxpool(net.relu(net.bn1(net.conv1(batch))))
        for layer in (net.layer1, net.layer2, net.layer3, net.layer4):
            x = layer(x)
    return x.double().mean(dim=(2, 3)).numpy()


@pytest.mark.parametrize("counters", [True, False])
def test_imagenet_loads_the_released_file(counters: bool, tmp_path: Path) -> None:
    net, path = trained(3, 1000), tmp_path / "resnet18.pth"
    state = {n: v for n, v in net.state_dict().items() if counters or "num_batches" not in n}
    assert len(state) == (122 if counters else 102)
    torch.save(state, path)
    rng = np.random.default_rng(0)
    given = np.stack(
        [
            imagenet_resnet18.prepare(rng.integers(0, 256, (50, 70, 3), dtype=np.uint8))
            for _ in range(2)
        ]
    )
    value = imagenet_resnet18.build(Weights((path,), "x"), "cpu")(given)["value"]
    mean, std = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    pixels = torch.from_numpy((given / 255 - mean) / std).permute(0, 3, 1, 2).float()
    np.testing.assert_allclose(value, pooled(net, pixels), rtol=1e-4, atol=1e-5)
    assert value.shape == (2, 512)


def vggsound_state(net: torch.nn.Module, netvlad: bool) -> dict[str, torch.Tensor]:
    state = {f"audnet.{name}": value for name, value in net.state_dict().items()}
    if netvlad:  # its classifier has a name of its own
        del state["audnet.fc.weight"], state["audnet.fc.bias"]
        state |= {
            "audnet.avgpool.conv.weight": torch.ones(16, 512, 1, 1),
            "audnet.avgpool.conv.bias": torch.ones(16),
            "audnet.avgpool.centroids": torch.ones(16, 512),
            "audnet.fc_.weight": torch.ones(309, 8192),
            "audnet.fc_.bias": torch.ones(309),
        }
    return state


@pytest.mark.parametrize("counters", [True, False])
@pytest.mark.parametrize(
    ("encoder", "name"), [(vggsound_resnet18, "H.pth.tar"), (vggsound_resnet18_vlad, "I.pth.tar")]
)
def test_vggsound_loads_both_released_files(
    encoder: Any, name: str, counters: bool, tmp_path: Path
) -> None:
    net, path = trained(1, 309), tmp_path / name
    assert [Path(file.name).name for file in encoder.FILES] == [name]
    state = vggsound_state(net, netvlad=name.startswith("I"))
    state = {n: v for n, v in state.items() if counters or "num_batches" not in n}
    torch.save({"model_state_dict": state}, path)
    given = np.random.default_rng(0).standard_normal((2, 257, 1004)).astype(np.float32)
    value = encoder.build(Weights((path,), "x"), "cpu")(given)["value"]
    expected = pooled(net, torch.from_numpy(given)[:, None])
    np.testing.assert_allclose(value, expected, rtol=1e-4, atol=1e-5)


def test_a_file_of_another_form_is_refused(tmp_path: Path) -> None:
    net, path = trained(1, 309), tmp_path / "H.pth.tar"
    good = vggsound_state(net, netvlad=False)
    for content, message in (
        (good, "has no 'model_state_dict'"),
        ({"model_state_dict": net.state_dict()}, "does not begin with 'audnet.'"),
        ({"model_state_dict": {**good, "audnet.conv9.weight": torch.ones(1)}}, r"unknown conv9\."),
        ({"model_state_dict": vggsound_state(trained(3, 309), False)}, r"conv1\.weight \(64, 3"),
    ):
        torch.save(content, path)
        with pytest.raises(MissingDependencyError, match=message):
            vggsound_resnet18.build(Weights((path,), "x"), "cpu")


def test_the_front_end_is_vggsounds() -> None:
    time = np.arange(5 * 32_000) / 32_000
    rng = np.random.default_rng(0)
    sound = 0.4 * np.sin(2 * np.pi * 700 * time) + 0.05 * rng.standard_normal(len(time))
    ours = vggsound_resnet18.prepare((sound * 32767).astype(np.int16), 80_000)
    assert ours.shape == (257, 1004)
    assert ours.dtype == np.float32
    assert abs(ours.mean()) < 1e-4
    assert abs(ours.std() - 1) < 1e-4
    halved = scipy.signal.resample_poly(np.round(sound * 32767) / 32767, 1, 2)  # another filter
    tiled = np.tile(halved, 10)[:160_000]
    _, _, power = scipy.signal.spectrogram(tiled, 16_000, nperseg=512, noverlap=353)
    expected = np.log(power + 1e-7)
    expected = (expected - expected.mean()) / (expected.std() + 1e-9)
    below_filter = slice(0, 220)  # the two resamplers differ near 8 kHz
    difference = np.abs(ours - expected)[below_filter]
    assert np.median(difference) < 0.02
    assert np.argmax(ours.mean(axis=1)) == np.argmax(expected.mean(axis=1)) == round(700 / 31.25)


def test_silence_stays_finite() -> None:
    flat = vggsound_resnet18.prepare(np.zeros(64_000, np.int16), 0)
    assert np.abs(flat).max() < 1e-3  # the rounding error of a mean, over a deviation of 1e-9


def test_teachers_are_found_by_their_files() -> None:
    assert choices("visual") == [
        *("detr-r50", "detr-r50-encoder", "imagenet-resnet18", "mobilenet-v2"),
    ]
    assert choices("audio") == [
        *("efficientat-mn04", "efficientat-mn10", "efficientat-mn40-ext"),
        *("panns-cnn14", "panns-wavegram"),
        *("vggsound-resnet18", "vggsound-resnet18-vlad"),
    ]
    assert choices("objects") == ["detr-r50"]
    assert network_of("detr-r50-encoder") == network_of("detr-r50") == "detr-r50"
    with pytest.raises(UsageError, match="'imagenet-resnet18' gives no object map: one of detr"):
        load_teacher("imagenet-resnet18", "objects")
    for modality in ("visual", "audio", "objects"):
        for name in choices(modality):
            assert modality == "objects" or modality_of(name) == modality
            teacher = load_teacher(name, modality)
            reads = "waveform" if modality == "audio" else "frame"
            assert reads == teacher.READS
            assert "value" in teacher.COLUMNS
            assert teacher.FILES
            assert isinstance(teacher.VERSION, int)
            assert isinstance(dict(teacher.PARAMS), dict)
            assert callable(teacher.prepare)
            assert callable(teacher.build)
