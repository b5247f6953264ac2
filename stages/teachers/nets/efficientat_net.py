"""EfficientAT's MobileNetV3 over sound (Schmid et al. 2022, arXiv 2211.04772), names as released.

One network of several widths. Unlike PANNs' files these do not hold the front-end: it is made here,
Kaldi's triangles over an STFT of 800 samples. All is float32 on every device: the front-end leaves
float16's range, and float16 would move the embeddings of the released mn04 by up to 2 %.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from .audioset import NUM_CLASSES

RATE_HZ = 32_000
WIDTHS = {
    **{"mn01": 0.1, "mn02": 0.2, "mn04": 0.4, "mn05": 0.5},
    **{"mn10": 1.0, "mn20": 2.0, "mn30": 3.0, "mn40": 4.0},
}
"""Published networks by name; a width multiplies the channels of every layer."""

_PRE_EMPHASIS = 0.97
_FFT, _WINDOW, _HOP = 1024, 800, 320
_MELS = 128
_HIGHEST_HZ = 15_000
_FLOOR = 1e-5


class _Layer(NamedTuple):
    """One block, at width 1."""

    kernel: int
    expanded: int
    out: int
    squeezes: bool
    activation: type[nn.Module]
    stride: int


_FIRST, _HIDDEN = 16, 1280
_RE, _HS = nn.ReLU, nn.Hardswish
_BLOCKS = (
    _Layer(3, 16, 16, False, _RE, 1),
    _Layer(3, 64, 24, False, _RE, 2),
    _Layer(3, 72, 24, False, _RE, 1),
    _Layer(5, 72, 40, True, _RE, 2),
    _Layer(5, 120, 40, True, _RE, 1),
    _Layer(5, 120, 40, True, _RE, 1),
    _Layer(3, 240, 80, False, _HS, 2),
    _Layer(3, 200, 80, False, _HS, 1),
    _Layer(3, 184, 80, False, _HS, 1),
    _Layer(3, 184, 80, False, _HS, 1),
    _Layer(3, 480, 112, True, _HS, 1),
    _Layer(3, 672, 112, True, _HS, 1),
    _Layer(5, 672, 160, True, _HS, 2),
    _Layer(5, 960, 160, True, _HS, 1),
    _Layer(5, 960, 160, True, _HS, 1),
)


def rounded(channels: float) -> int:
    """Return the multiple of 8 nearest to a number of channels, one more where a tenth is lost."""
    near = max(8, int(channels + 4) // 8 * 8)
    return near + 8 if near < 0.9 * channels else near


def head_shape(width: float) -> tuple[int, int]:
    """Return the shape of the head's first matrix, which tells the published widths apart."""
    return rounded(width * _HIDDEN), 6 * rounded(width * _BLOCKS[-1].out)


def mel_bank() -> Tensor:
    """Return the `(128, 512)` triangles over bins of 31.25 Hz, linear in mel, each of height 1.

    They are torchaudio's, which computes Kaldi's, as in the released code.
    """
    from torchaudio.compliance.kaldi import get_mel_banks

    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)  # computed in float32 they are off by up to 1e-5
    try:
        bank: Tensor
        bank, _ = get_mel_banks(_MELS, _FFT, float(RATE_HZ), 0.0, float(_HIGHEST_HZ), 0.0, 0.0, 1.0)
    finally:
        torch.set_default_dtype(before)
    return bank.float()


class LogMel(nn.Module):
    """`(B, L)` sound at 32 kHz to its `(B, 1, 128, (L - 1) // 320 + 1)` log-mel picture."""

    def __init__(self) -> None:
        """Make window and filters; the released files do not hold them."""
        super().__init__()
        window = torch.hann_window(_WINDOW, periodic=False, dtype=torch.float64).float()
        self.register_buffer("window", window, persistent=False)
        self.register_buffer("bank", mel_bank(), persistent=False)

    def forward(self, waveform: Tensor) -> Tensor:
        """See the class."""
        sharp = waveform[:, 1:] - _PRE_EMPHASIS * waveform[:, :-1]
        window: Tensor = self.get_buffer("window")
        stft = torch.stft(sharp, _FFT, _HOP, _WINDOW, window, return_complex=True)
        power = stft.real.square() + stft.imag.square()
        # the last bin, of 16 kHz, weighs nothing
        mel = self.get_buffer("bank") @ power[:, : _FFT // 2]
        return ((mel + _FLOOR).log() + 4.5)[:, None] / 5


def _conv(
    inputs: int, out: int, kernel: int, stride: int = 1, groups: int = 1,
    activation: type[nn.Module] | None = None,
) -> nn.Sequential:  # fmt: skip
    layers: list[nn.Module] = [
        nn.Conv2d(inputs, out, kernel, stride, (kernel - 1) // 2, groups=groups, bias=False),
        nn.BatchNorm2d(out, eps=0.001, momentum=0.01),
    ]
    return nn.Sequential(*layers, *([activation()] if activation else []))


class _Gate(nn.Module):
    """How much of each channel passes, by the mean over the picture."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        inner = rounded(channels // 4)
        self.fc1 = nn.Linear(channels, inner)
        self.fc2 = nn.Linear(inner, channels)

    def forward(self, x: Tensor) -> Tensor:
        gate: Tensor = self.fc2(self.fc1(x.mean((2, 3))).relu())
        return x * gate.sigmoid()[:, :, None, None]


class _SqueezeExcitation(nn.Module):
    """The released names allow for several gates; the published networks have one."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conc_se_layers = nn.ModuleList([_Gate(channels)])

    def forward(self, x: Tensor) -> Tensor:
        gated: Tensor = self.conc_se_layers[0](x)
        return gated


class _Residual(nn.Module):
    """Expansion, depthwise convolution, gate, projection; the input is added where it fits."""

    def __init__(self, inputs: int, expanded: int, out: int, layer: _Layer) -> None:
        super().__init__()
        parts: list[nn.Module] = []
        if expanded != inputs:  # of the narrowest network more than the first block lacks it
            parts.append(_conv(inputs, expanded, 1, activation=layer.activation))
        parts.append(
            _conv(expanded, expanded, layer.kernel, layer.stride, expanded, layer.activation)
        )
        if layer.squeezes:
            parts.append(_SqueezeExcitation(expanded))
        self.block = nn.Sequential(*parts, _conv(expanded, out, 1))
        self._adds = layer.stride == 1 and inputs == out

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.block(x)
        return found + x if self._adds else found


class EfficientAT(nn.Module):
    """Sound to an embedding and AudioSet's classes."""

    def __init__(self, width: float) -> None:
        """Make the layers; the weights are drawn so that none of them fades.

        Args:
            width: Multiplies all channels, 1 for mn10.
        """
        super().__init__()
        self.log_mel = LogMel()
        channels = rounded(width * _FIRST)
        layers: list[nn.Module] = [_conv(1, channels, 3, 2, activation=_HS)]
        for layer in _BLOCKS:
            out = rounded(width * layer.out)
            layers.append(_Residual(channels, rounded(width * layer.expanded), out, layer))
            channels = out
        self.num_features = 6 * channels
        """Numbers of the embedding."""
        layers.append(_conv(channels, self.num_features, 1, activation=_HS))
        self.features = nn.Sequential(*layers)
        hidden, _ = head_shape(width)
        self.classifier = nn.Sequential(
            nn.Identity(),  # the mean over the picture, which `forward` takes
            nn.Identity(),
            nn.Linear(self.num_features, hidden),
            nn.Hardswish(),
            nn.Dropout(0.2),
            nn.Linear(hidden, NUM_CLASSES),
        )
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")

    def forward(self, waveform: Tensor) -> tuple[Tensor, Tensor]:
        """Listen.

        Args:
            waveform: `(B, L)` float32 at 32 kHz in [-1, 1], more than 513 samples.

        Returns:
            The embedding `(B, num_features)`, the mean of the last map, and the scores `(B, 527)`
            in [0, 1] of AudioSet's classes, which are independent of each other.
        """
        with torch.autocast(waveform.device.type, enabled=False):  # all is float32, see above
            embedding: Tensor = self.features(self.log_mel(waveform)).mean((2, 3))
            logits: Tensor = self.classifier(embedding)
        return embedding, logits.sigmoid()
