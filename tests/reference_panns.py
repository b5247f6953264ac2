"""PANNs once more, in float64 NumPy and SciPy, layer by layer; nothing of the program is used.

A checkpoint is a mapping of the released names to arrays. Pictures are (channels, time, bands).
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from scipy.signal import correlate

Array = NDArray[np.float64]
State = Mapping[str, NDArray[np.float64]]


def mel_matrix() -> Array:
    """Slaney's filterbank (513, 64): triangles between equally spaced mels, each of area 1.

    The scale is linear (200/3 Hz a mel) up to 1 kHz, then 27 mels for every factor of 6.4.
    """

    def to_hz(mel: Array) -> Array:
        return np.where(mel < 15, mel * 200 / 3, 1000 * 6.4 ** ((mel - 15) / 27))

    def to_mel(hz: float) -> float:
        return hz * 3 / 200 if hz < 1000 else 15 + 27 * np.log(hz / 1000) / np.log(6.4)

    edges = to_hz(np.linspace(to_mel(50), to_mel(14_000), 66))
    bins = np.arange(513) * 32_000 / 1024
    bank = np.zeros((513, 64))
    for band in range(64):
        low, peak, high = edges[band : band + 3]
        rising, falling = (bins - low) / (peak - low), (high - bins) / (high - peak)
        bank[:, band] = np.maximum(0, np.minimum(rising, falling)) * 2 / (high - low)
    return bank


def logmel(sound: Array, bank: Array) -> Array:
    """`(L,)` at 32 kHz to decibels, `(L // 320 + 1, 64)`."""
    padded = np.pad(sound, 512, mode="reflect")
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(1024) / 1024)
    count = len(sound) // 320 + 1
    pieces = np.stack([padded[320 * i : 320 * i + 1024] * window for i in range(count)])
    power = np.abs(np.fft.rfft(pieces)) ** 2
    return 10 * np.log10(np.maximum(power @ bank, 1e-10))


def norm(x: Array, state: State, name: str) -> Array:
    """Batch norm at rest, over the first axis of `(channels, ...)`."""
    shape = (-1,) + (1,) * (x.ndim - 1)
    mean, var, gain, bias = (
        state[f"{name}.{part}"].reshape(shape)
        for part in ("running_mean", "running_var", "weight", "bias")
    )
    return (x - mean) / np.sqrt(var + 1e-5) * gain + bias


def conv2d(x: Array, weight: Array) -> Array:
    """3 x 3 with a margin of zeros: nine products of matrices, one for each place of the kernel."""
    _, height, width = x.shape
    padded = np.pad(x, ((0, 0), (1, 1), (1, 1)))
    places = [padded[:, i : i + height, j : j + width] for i in range(3) for j in range(3)]
    kernels = [weight[:, :, i, j] for i in range(3) for j in range(3)]
    total = sum(
        kernel @ place.reshape(len(x), -1) for kernel, place in zip(kernels, places, strict=True)
    )
    return np.asarray(total).reshape(-1, height, width)


def conv1d(x: Array, weight: Array, *, pad: int, dilation: int = 1) -> Array:
    """`(channels, L)`, each output channel a sum of correlations."""
    spread = np.zeros((*weight.shape[:2], (weight.shape[2] - 1) * dilation + 1))
    spread[:, :, ::dilation] = weight
    padded = np.pad(x, ((0, 0), (pad, pad)))
    return np.stack(
        [
            sum(correlate(line, part, mode="valid") for line, part in zip(padded, own, strict=True))
            for own in spread
        ]
    )


def pooled(x: Array, height: int, width: int) -> Array:
    """Means of (height, width) cells; what is left over at the ends is dropped."""
    channels, rows, columns = x.shape
    cells = x[:, : rows // height * height, : columns // width * width]
    cells = cells.reshape(channels, rows // height, height, columns // width, width)
    return cells.mean(axis=(2, 4))


def block(x: Array, state: State, name: str, height: int, width: int) -> Array:
    """Twice convolution, norm, ReLU; then the mean of cells."""
    for i in (1, 2):
        x = conv2d(x, state[f"{name}.conv{i}.weight"])
        x = np.maximum(norm(x, state, f"{name}.bn{i}"), 0)
    return pooled(x, height, width)


def wavegram(sound: Array, state: State) -> Array:
    """The samples' own picture, `(width, T // 2, 32)`."""
    x = conv1d(sound[None], state["pre_conv0.weight"], pad=5)[:, ::5]
    x = np.maximum(norm(x, state, "pre_bn0"), 0)
    for name in ("pre_block1", "pre_block2", "pre_block3"):
        for i in (1, 2):
            x = conv1d(x, state[f"{name}.conv{i}.weight"], pad=i, dilation=i)
            x = np.maximum(norm(x, state, f"{name}.bn{i}"), 0)
        length = x.shape[1] // 4
        x = x[:, : 4 * length].reshape(len(x), length, 4).max(axis=2)
    pictures = x.reshape(4, 32, -1).swapaxes(1, 2)
    return block(pictures, state, "pre_block4", 2, 1)


def embedding_and_scores(sound: Array, state: State, *, with_wavegram: bool) -> tuple[Array, Array]:
    """The embedding (2048,) and the 527 classes' scores of one sound `(L,)`.

    Dropout rests. Where the two branches differ by a column, the longer one loses its last.
    """
    x = logmel(sound, mel_matrix())
    x = norm(x.T, state, "bn0").T[None]  # each band is a channel of bn0
    x = block(x, state, "conv_block1", 2, 2)
    if with_wavegram:
        own = wavegram(sound, state)
        columns = min(x.shape[1], own.shape[1])
        x = np.concatenate([x[:, :columns], own[:, :columns]])
    for i in range(2, 6):
        x = block(x, state, f"conv_block{i}", 2, 2)
    x = block(x, state, "conv_block6", 1, 1).mean(axis=2)
    x = x.max(axis=1) + x.mean(axis=1)
    embedding = np.maximum(state["fc1.weight"] @ x + state["fc1.bias"], 0)
    logits = state["fc_audioset.weight"] @ embedding + state["fc_audioset.bias"]
    return embedding, 1 / (1 + np.exp(-logits))
