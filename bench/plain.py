"""SLAVC and multi-positive alignment as one writes them from papers and released code.

Float32, torchvision's ResNet18, Adam at its defaults, averages parameter by parameter; samples one
after the other with PIL, PyAV and SciPy. `train.py` compares the trainer with them.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import torchvision
from common import Stopwatch
from loader import hear, plain_crop, pyav_sound, to_tensor
from PIL import Image, ImageFilter
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision import transforms

CLIP_S, WINDOW_S = 10, 3
Pairs = tuple[list[Tensor], list[Tensor]]
"""Views of the images and views of the sounds."""


class Encoders(nn.Module):
    """Two ResNet18 without their last layers; frames keep their cells, sounds their largest."""

    def __init__(self, last_stride: int) -> None:
        """Build them; a last stride of 1 is LVS's, with maps of twice the side."""
        super().__init__()
        self.imgnet, self.audnet = (torchvision.models.resnet18(weights=None) for _ in range(2))
        self.audnet.conv1 = nn.Conv2d(1, 64, 7, 2, 3, bias=False)
        for network in (self.imgnet, self.audnet):
            network.avgpool = network.fc = nn.Identity()
            network.layer4[0].conv1.stride = (last_stride, last_stride)
            network.layer4[0].downsample[0].stride = (last_stride, last_stride)
        self.audnet.avgpool = nn.AdaptiveMaxPool2d((1, 1))
        self._cell = 16 * last_stride

    def forward(self, frames: Tensor, sounds: Tensor) -> tuple[Tensor, Tensor]:
        """Return `(B, 512, h, w)` of frames and `(B, 512)` of sounds."""
        side = -(-frames.shape[-1] // self._cell)
        return self.imgnet(frames).reshape(-1, 512, side, side), self.audnet(sounds)


class Slavc(nn.Module):
    """SLAVC as its released model computes (momentum .999, dropout .9, temperature .03)."""

    def __init__(self) -> None:
        """Build the online networks and their momentum twins."""
        super().__init__()
        self.online = nn.ModuleDict({"encoders": Encoders(2)})
        for head in ("1", "2"):
            self.online["img_proj" + head] = nn.Conv2d(512, 512, 1)
            self.online["aud_proj" + head] = nn.Linear(512, 512)
        self.momentum = copy.deepcopy(self.online).requires_grad_(False)
        self.dropout = nn.Dropout(0.9)

    def embed(self, nets: nn.ModuleDict, frames: Tensor, sounds: Tensor) -> list[list[Tensor]]:
        """Return both heads' maps and both heads' sounds, of unit length."""
        image, sound = nets["encoders"](frames, sounds)
        image = self.dropout(image)
        return [
            [F.normalize(nets[f"{of}_proj{head}"](features), dim=1) for head in "12"]
            for of, features in (("img", image), ("aud", sound))
        ]

    @torch.no_grad()
    def update(self) -> None:
        """Move the momentum networks, parameter by parameter."""
        for slow, fast in zip(self.momentum.parameters(), self.online.parameters(), strict=True):
            slow.data = slow.data * 0.999 + fast.data * (1 - 0.999)

    @staticmethod
    def term(visual: list[Tensor], audio: list[Tensor]) -> Tensor:
        """Return the cross-entropy of log P (the released `Localizer`)."""
        both = [
            torch.einsum("nchw,mc->nmhw", v, a) / 0.03 for v, a in zip(visual, audio, strict=True)
        ]
        among_sounds = both[0].softmax(1)
        among_cells = both[1].flatten(2).softmax(2).view_as(both[1])
        scores = (among_sounds * among_cells).sum((2, 3)).log()
        return F.cross_entropy(scores, torch.arange(len(scores), device=scores.device))

    def loss(self, views: Pairs, watch: Stopwatch) -> Tensor:
        """Return a batch's loss; the momentum networks move first."""
        (frames,), (sounds,) = views
        with watch.part("forward"):
            visual, audio = self.embed(self.online, frames, sounds)
        with watch.part("EMA"):
            self.update()
        with watch.part("forward"), torch.no_grad():
            slow_visual, slow_audio = self.embed(self.momentum, frames, sounds)
        with watch.part("loss"):
            return self.term(slow_visual, audio) + self.term(visual, slow_audio)


class MultiPositive(nn.Module):
    """Alignment of all nine pairs of views, each pair through both encoders."""

    def __init__(self) -> None:
        """Build the encoders and the projections of whole images and sounds."""
        super().__init__()
        self.encoders = Encoders(1)
        self.p_v, self.p_a = nn.Linear(512, 512), nn.Linear(512, 512)

    def loss(self, views: Pairs, watch: Stopwatch) -> Tensor:
        """Return the sum over pairs of both contrasts, images to sounds."""
        total = torch.zeros((), device=views[0][0].device)
        for frames in views[0]:
            for sounds in views[1]:
                with watch.part("forward"):
                    seen, heard = self.encoders(frames, sounds)
                    image = F.normalize(self.p_v(seen.mean((2, 3))), dim=1)
                    sound = F.normalize(self.p_a(heard), dim=1)
                    visual, audio = F.normalize(seen, dim=1), F.normalize(heard, dim=1)
                with watch.part("loss"):
                    cells = torch.einsum("nchw,mc->nmhw", visual, audio).mean((2, 3))
                    own = torch.arange(len(cells), device=cells.device)
                    total = total + F.cross_entropy(cells / 0.07, own)
                    total = total + F.cross_entropy(image @ sound.T / 0.07, own)
        return total


MODELS: dict[str, Callable[[], Slavc | MultiPositive]] = {
    "slavc": Slavc,
    "multi-positive": MultiPositive,
}
SIMCLR = transforms.Compose(
    [
        transforms.RandomResizedCrop(224, scale=(0.08, 1.0)),
        transforms.RandomHorizontalFlip(),
        transforms.RandomApply([transforms.ColorJitter(0.8, 0.8, 0.8, 0.2)], 0.8),
        transforms.RandomGrayscale(0.2),
        transforms.RandomApply([lambda x: x.filter(ImageFilter.GaussianBlur(_sigma()))], 0.5),
    ]
)


def _sigma() -> float:
    return float(torch.empty(()).uniform_(0.1, 2.0))


def prepare(name: str, folder: Path, clips: list[int], rng: np.random.Generator) -> Pairs:
    """Read the files of a batch, sample by sample: one view of each, or all three."""

    def see(clip: int, *, augmented: bool = False) -> Tensor:
        with Image.open(folder / f"{clip:06d}.jpg") as image:
            frame = image.convert("RGB")
        return to_tensor(SIMCLR(frame) if augmented else plain_crop(frame, rng))

    def listen(clip: int, start_s: float | None = None) -> Tensor:
        return hear(pyav_sound(folder / f"{clip:06d}.wav", start_s))

    frames, sounds = [[see(clip) for clip in clips]], [[listen(clip) for clip in clips]]
    if name == "multi-positive":
        near = rng.integers(len(list(folder.glob("*.jpg"))), size=(2, len(clips))).tolist()
        frames += [[see(clip, augmented=True) for clip in clips], [see(clip) for clip in near[0]]]
        shifts = rng.uniform(0, CLIP_S - WINDOW_S, len(clips)).tolist()
        shifted = [listen(clip, shift) for clip, shift in zip(clips, shifts, strict=True)]
        sounds += [shifted, [listen(clip) for clip in near[1]]]
    return [torch.stack(view) for view in frames], [torch.stack(view) for view in sounds]


class PlainTrainer:
    """Learns from one batch after another."""

    def __init__(
        self, name: str, folder: Path, num_clips: int, batch_size: int, device: str = "cpu"
    ) -> None:
        """Build the networks; `folder` holds the clips' files, see `loader.write_files`."""
        self._name, self._folder, self._device = name, folder, device
        self._model = MODELS[name]().to(device)
        self._optimizer = torch.optim.Adam(
            [one for one in self._model.parameters() if one.requires_grad], lr=1e-4,
            weight_decay=1e-4 if name == "slavc" else 0.0,
        )  # fmt: skip
        self._rng = np.random.default_rng(0)
        self._num_clips, self._batch_size = num_clips, batch_size

    def step(self, watch: Stopwatch) -> None:
        """Learn from the next batch."""
        with watch.part("data"):
            clips = self._rng.permutation(self._num_clips)[: self._batch_size]
            seen, heard = (
                [view.to(self._device) for view in of]
                for of in prepare(self._name, self._folder, clips.tolist(), self._rng)
            )
        loss = self._model.loss((seen, heard), watch)
        with watch.part("backward"):
            self._optimizer.zero_grad()
            torch.autograd.backward(loss)
        with watch.part("optimizer"):
            self._optimizer.step()
        assert np.isfinite(loss.item())
