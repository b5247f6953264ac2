from pathlib import Path

import pytest
import torch
import torchvision
from avpipe.errors import MissingDependencyError
from avpipe.train.nets.encoders import compact, load_imagenet, mobilenet_v2, resnet18
from avpipe.train.nets.model import Needs, build_model
from avpipe.train.recipe import load_recipe
from torch import nn


@pytest.fixture(scope="module")
def original() -> nn.Module:
    torch.manual_seed(0)
    return torchvision.models.resnet18(weights=None).eval()


def trunk(network: nn.Module) -> nn.Sequential:
    """Cut the network behind its last map."""
    return nn.Sequential(*list(network.children())[:-2])


def test_resnet18_is_torchvisions(original: nn.Module) -> None:
    encoder = resnet18().eval()
    state = {k: v for k, v in original.state_dict().items() if not k.startswith("fc.")}
    assert list(encoder.state_dict()) == list(state)
    encoder.load_state_dict(state)
    images = torch.rand(2, 3, 70, 90)
    with torch.inference_mode():
        assert torch.equal(encoder(images), trunk(original)(images))


def test_imagenet_weights_are_read_from_a_file(original: nn.Module, tmp_path: Path) -> None:
    path = tmp_path / "resnet18-f37072fd.pth"
    torch.save(original.state_dict(), path)
    encoder = resnet18()
    digests = {load_imagenet(encoder, [spec]) for spec in (str(tmp_path), str(path))}
    assert len(digests) == 1
    assert torch.equal(encoder.get_parameter("conv1.weight"), original.conv1.weight)


def test_absent_imagenet_weights_name_the_file_and_the_command(tmp_path: Path) -> None:
    with pytest.raises(MissingDependencyError) as caught:
        load_imagenet(resnet18(), [str(tmp_path)])
    message = str(caught.value)
    assert caught.value.exit_code == 6
    assert str(tmp_path / "resnet18-f37072fd.pth") in message
    assert "image_init=scratch" in message
    assert "\n" not in message


@pytest.mark.parametrize(
    ("settings", "channels", "side"),
    [
        ({}, 512, 7),
        ({"last_stride": 1}, 512, 14),
        ({"last_layer": 3}, 256, 14),
        ({"last_layer": 3, "last_stride": 1}, 256, 28),
        ({"last_layer": 2, "width": 8}, 16, 28),
    ],
)
def test_resnet18_maps(settings: dict[str, int], channels: int, side: int) -> None:
    encoder = resnet18(**{"width": 64, **settings}).eval()
    assert encoder.num_features == channels
    with torch.inference_mode():
        assert encoder(torch.zeros(1, 3, 224, 224)).shape == (1, channels, side, side)


def test_compact_map() -> None:
    encoder = compact(3, 8).eval()
    with torch.inference_mode():
        assert encoder(torch.zeros(1, 3, 96, 96)).shape == (1, encoder.num_features, 12, 12)


def test_a_cell_of_compact_sees_28_pixels() -> None:
    encoder = compact(3, 4).eval()
    image = torch.rand(1, 3, 96, 96, requires_grad=True)
    seen = torch.zeros(96, 96, dtype=torch.bool)
    for channel in range(encoder.num_features):
        (gradient,) = torch.autograd.grad(encoder(image)[0, channel, 6, 6], image)
        seen |= gradient[0].abs().sum(0) > 0
    rows = seen.any(1).nonzero().ravel()
    middle = 6 * 8 + 3.5
    assert rows.min() >= middle - 13.5 and rows.max() <= middle + 13.5
    assert rows.max() - rows.min() + 1 > 20  # pooling and ReLU may hide the outermost pixels


def test_mobilenet_is_torchvisions_with_its_file(tmp_path: Path) -> None:
    torch.manual_seed(0)
    original = torchvision.models.mobilenet_v2(weights=None).eval()
    for module in original.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.weight.data.uniform_(2, 4)
    path = tmp_path / "mobilenet_v2-b0353104.pth"
    torch.save(original.state_dict(), path)
    encoder = mobilenet_v2().eval()
    digests = {
        load_imagenet(encoder, [spec], "mobilenet-v2")
        for spec in (str(tmp_path), f"mobilenet-v2={path}")
    }
    assert len(digests) == 1
    images = torch.rand(2, 3, 70, 90)
    with torch.inference_mode():
        found = encoder(images)
        assert torch.equal(found, original.features(images))
    assert found.shape == (2, encoder.num_features, 3, 3) and found.std() > 0
    with pytest.raises(MissingDependencyError, match="not the weights of Encoder: lacks"):
        load_imagenet(resnet18(), [f"imagenet-resnet18={path}"])


def test_a_pretrained_mobilenet_keeps_its_norms_while_it_trains() -> None:
    images, sounds = torch.rand(2, 3, 64, 64), torch.rand(2, 1, 40, 40)
    moved = {}
    for init in ("imagenet", "scratch"):
        settings = ["image_encoder=mobilenet-v2", f"image_init={init}", "width=16", "embed_dim=8"]
        model = build_model(load_recipe("ez-vsl", settings), Needs(), 0).train()
        before = {name: value.clone() for name, value in model.named_buffers()}
        model(images, sounds).visual[0].sum().backward()
        assert model.image_encoder.get_parameter("features.0.0.weight").grad is not None
        moved[init] = {
            part
            for part in ("image_encoder", "audio_encoder")
            for name, value in model.named_buffers()
            if name.startswith(part) and not torch.equal(value, before[name])
        }
        with torch.inference_mode():
            assert float(model.eval().image_encoder(images).std()) > 0.01
    assert moved == {
        "imagenet": {"audio_encoder"},
        "scratch": {"image_encoder", "audio_encoder"},
    }
