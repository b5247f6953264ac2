"""PANNs' Cnn14 and Wavegram-Logmel-Cnn14 (Kong et al. 2020), with the names of the released files.

The front-end is part of the network there: the released files hold the short-time Fourier transform
as two convolutions, and the mel matrix. They are loaded like any other weight, so a file made with
another filterbank is heard as it was trained; in the released ones both are those made here.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from .audioset import NUM_CLASSES

RATE_HZ = 32_000
_FFT = 1024
_HOP = 320
_BINS = _FFT // 2 + 1
_MELS = 64
_LOWEST_HZ, _HIGHEST_HZ = 50, 14_000


class Stft(nn.Module):
    """Short-time Fourier transform as two convolutions, periodic Hann window."""

    def __init__(self) -> None:
        """Fill both with cosines and sines."""
        super().__init__()
        phase = -2 * np.pi * np.outer(np.arange(_BINS), np.arange(_FFT)) / _FFT
        window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(_FFT) / _FFT)
        self.conv_real = nn.Conv1d(1, _BINS, _FFT, stride=_HOP, bias=False)
        self.conv_imag = nn.Conv1d(1, _BINS, _FFT, stride=_HOP, bias=False)
        for conv, part in ((self.conv_real, np.cos(phase)), (self.conv_imag, np.sin(phase))):
            conv.weight = nn.Parameter(torch.from_numpy(part * window).float()[:, None])


class SpectrogramExtractor(nn.Module):
    """`(B, L)` to the power spectrum `(B, T, 513)`, T = L // 320 + 1, ends reflected."""

    def __init__(self) -> None:
        """Hold the transform under its released name."""
        super().__init__()
        self.stft = Stft()

    def forward(self, waveform: Tensor) -> Tensor:
        """See the class."""
        padded = functional.pad(waveform[:, None], (_FFT // 2, _FFT // 2), mode="reflect")
        pieces = padded[:, 0].unfold(1, _FFT, _HOP)
        # products of matrices: on a GPU, convolutions would be rounded to 10 bits
        real = pieces @ self.stft.conv_real.weight[:, 0].T
        imag = pieces @ self.stft.conv_imag.weight[:, 0].T
        return real.square() + imag.square()


class LogmelExtractor(nn.Module):
    """`(B, T, 513)` power to `(B, T, 64)` decibels: Slaney's mel bands, 50 Hz to 14 kHz."""

    def __init__(self) -> None:
        """Take librosa's filterbank, as the released files did."""
        super().__init__()
        from librosa.filters import mel

        bank = mel(sr=RATE_HZ, n_fft=_FFT, n_mels=_MELS, fmin=_LOWEST_HZ, fmax=_HIGHEST_HZ)
        self.melW = nn.Parameter(torch.from_numpy(bank.T.copy()))

    def forward(self, power: Tensor) -> Tensor:
        """See the class."""
        return 10 * torch.log10((power @ self.melW).clamp(min=1e-10))


class ConvBlock(nn.Module):
    """Twice 3 x 3 convolution, batch norm, ReLU; then average pooling."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        """Make the layers under their released names."""
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, padding=1, bias=False)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(out_channels)
        self.bn2 = nn.BatchNorm2d(out_channels)

    def forward(self, x: Tensor, pool: tuple[int, int]) -> Tensor:
        """`(B, C, T, F)` to `(B, C', T // pool[0], F // pool[1])`."""
        x = functional.relu(self.bn1(self.conv1(x)))
        x = functional.relu(self.bn2(self.conv2(x)))
        return functional.avg_pool2d(x, pool)


class PreBlock(nn.Module):
    """Wavegram block: two convolutions over samples, the second dilated; then max pooling by 4."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        """Make the layers under their released names."""
        super().__init__()
        self.conv1 = nn.Conv1d(in_channels, out_channels, 3, padding=1, bias=False)
        self.conv2 = nn.Conv1d(out_channels, out_channels, 3, padding=2, dilation=2, bias=False)
        self.bn1 = nn.BatchNorm1d(out_channels)
        self.bn2 = nn.BatchNorm1d(out_channels)

    def forward(self, x: Tensor) -> Tensor:
        """`(B, C, L)` to `(B, C', L // 4)`."""
        x = functional.relu(self.bn1(self.conv1(x)))
        x = functional.relu(self.bn2(self.conv2(x)))
        return functional.max_pool1d(x, 4)


class Cnn14(nn.Module):
    """Fourteen layers over the log-mel spectrogram.

    `width` is the number of channels of the first block, 64 in the released network; the embedding
    has 32 times as many numbers.
    """

    def __init__(self, width: int = 64) -> None:
        """Make the layers; the weights are drawn as PANNs draw them."""
        super().__init__()
        self.spectrogram_extractor = SpectrogramExtractor()
        self.logmel_extractor = LogmelExtractor()
        self.bn0 = nn.BatchNorm2d(_MELS)
        sizes = [width << doubling for doubling in range(6)]
        self.conv_block1 = ConvBlock(1, sizes[0])
        self.conv_block2 = ConvBlock(self._channels_into_block2(width), sizes[1])
        self.conv_block3 = ConvBlock(sizes[1], sizes[2])
        self.conv_block4 = ConvBlock(sizes[2], sizes[3])
        self.conv_block5 = ConvBlock(sizes[3], sizes[4])
        self.conv_block6 = ConvBlock(sizes[4], sizes[5])
        self.fc1 = nn.Linear(sizes[5], sizes[5])
        self.fc_audioset = nn.Linear(sizes[5], NUM_CLASSES)
        self._make_branch(width)
        self._draw()

    def _channels_into_block2(self, width: int) -> int:
        return width

    def _make_branch(self, width: int) -> None:
        """Add what a variant has beside the log-mel branch."""

    def _draw(self) -> None:
        fixed = {*self.spectrogram_extractor.modules()}
        for module in self.modules():
            if isinstance(module, nn.Conv1d | nn.Conv2d | nn.Linear) and module not in fixed:
                nn.init.xavier_uniform_(module.weight)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def logmel(self, waveform: Tensor) -> Tensor:
        """Return the `(B, 1, T, 64)` log-mel spectrogram, in decibels, of `(B, L)` sound."""
        with torch.autocast(waveform.device.type, enabled=False):  # 1e-10 is no float16
            logmel: Tensor = self.logmel_extractor(self.spectrogram_extractor(waveform))
        return logmel[:, None]

    def _first_features(self, waveform: Tensor) -> Tensor:
        x = self.bn0(self.logmel(waveform).transpose(1, 3)).transpose(1, 3)  # norm over mel bands
        features: Tensor = self.conv_block1(x, (2, 2))
        return features

    def forward(self, waveform: Tensor) -> tuple[Tensor, Tensor]:
        """Listen.

        Args:
            waveform: `(B, L)` float32 at 32 kHz in [-1, 1].

        Returns:
            The embedding `(B, 32 * width)`, not negative, and the scores `(B, 527)` in [0, 1] of
            AudioSet's classes.
        """
        x = self._first_features(waveform)
        for block in (self.conv_block2, self.conv_block3, self.conv_block4, self.conv_block5):
            x = block(x, (2, 2))
        x = self.conv_block6(x, (1, 1)).mean(dim=3)
        embedding = functional.relu(self.fc1(x.amax(dim=2) + x.mean(dim=2)))
        return embedding, torch.sigmoid(self.fc_audioset(embedding))


class WavegramLogmelCnn14(Cnn14):
    """Cnn14 with a second branch that learns its own time-frequency picture from the samples."""

    def _channels_into_block2(self, width: int) -> int:
        return 2 * width

    def _make_branch(self, width: int) -> None:
        self.pre_conv0 = nn.Conv1d(1, width, 11, stride=5, padding=5, bias=False)
        self.pre_bn0 = nn.BatchNorm1d(width)
        self.pre_block1 = PreBlock(width, width)
        self.pre_block2 = PreBlock(width, 2 * width)
        self.pre_block3 = PreBlock(2 * width, 4 * _MELS // 2)
        self.pre_block4 = ConvBlock(4, width)

    def _first_features(self, waveform: Tensor) -> Tensor:
        x = functional.relu(self.pre_bn0(self.pre_conv0(waveform[:, None])))
        x = self.pre_block3(self.pre_block2(self.pre_block1(x)))
        # channels become 4 pictures of 32 bands each
        x = x.unflatten(1, (4, _MELS // 2)).transpose(2, 3)
        wavegram = self.pre_block4(x, (2, 1))
        logmel = super()._first_features(waveform)
        # an odd number of hops gives the log-mel branch one column more: the original stops there
        num_columns = min(logmel.shape[2], wavegram.shape[2])
        return torch.cat([logmel[:, :, :num_columns], wavegram[:, :, :num_columns]], dim=1)
