"""A teacher at work: on batches for `embed`, on single clips for what learnt from its features."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...cache.schema import AUDIO_RATE_HZ, FULL_SCALE
from ...errors import MissingDependencyError, UsageError
from ...weights import RANDOM, Weights, check_specs, remember, require, resolve
from ..spectrogram import resample
from . import FLOAT32, Precision
from .protocol import Network, Teacher, load_teacher, network_of

_DIGITS = 12
"""Of a digest, as `status` and the summaries show it."""

_KEPT_S = 10.0
"""Seconds of sound that a cache keeps around a frame, which the others hear whole."""


def build_network(
    teacher: Teacher, weights: Weights, device: str, precision: Precision = FLOAT32
) -> Network:
    """Build a teacher for a device; on a GPU it computes in float16 where PyTorch holds that safe.

    float16 keeps three bits more than bfloat16; the networks are frozen and none leaves its range.

    Args:
        teacher: Its module.
        weights: Its weights.
        device: Where it runs.
        precision: Of a CPU; `bf16` where PyTorch holds it safe, front-ends and sums stay float32.

    Raises:
        MissingDependencyError: If the files are not this network's.
    """
    network = teacher.build(weights, device)
    remember(weights)
    on_gpu = device.startswith("cuda")
    if not on_gpu and precision == FLOAT32:
        return network
    import torch

    def faster(batch: NDArray[Any]) -> dict[str, NDArray[Any]]:
        if on_gpu:
            with torch.autocast("cuda", torch.float16):
                return network(batch)
        with torch.autocast("cpu", torch.bfloat16):
            return network(batch)

    return faster


def check_precision(precision: Precision, device: str) -> None:
    """Refuse bf16 where the hardware does not compute in it.

    Raises:
        UsageError: It does not.
    """
    import torch

    if precision == FLOAT32:
        return
    if device != "cpu":
        raise UsageError(f"--precision {precision} is for a CPU; on {device} leave it out")
    if not (torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()):
        raise UsageError(
            f"--precision {precision}: this CPU has no arithmetic for it (avx512_bf16 or amx); "
            "leave it out"
        )


def fetch_weights(teachers: Iterable[tuple[str, str | None]], specs: Sequence[str]) -> None:
    """Fetch what some teachers lack, so that all that does not come is told at once.

    Args:
        teachers: Name, and digest of the weights that are wanted; random ones are made.
        specs: As `LiveTeacher` takes them.

    Raises:
        MissingDependencyError: Weights are missing.
        UsageError: A spec names another network than these.
    """
    needed = {network_of(name): (name, weights or "") for name, weights in teachers}
    if needed:
        check_specs(specs, needed)
    files = {
        network: load_teacher(name).FILES
        for network, (name, weights) in needed.items()
        if not weights.startswith(RANDOM)
    }
    require(files, specs)


def weights_option(name: str, weights: str | None) -> str:
    """Return the `--weights` that gives a teacher weights of some digest."""
    return RANDOM if (weights or "").startswith(RANDOM) else f"{network_of(name)}=FILE"


class LiveTeacher:
    """A teacher that is run on single frames or sounds, as it was run over a cache."""

    def __init__(
        self, name: str, version: int, weights: str | None, specs: Sequence[str], device: str
    ) -> None:
        """Load the network.

        Args:
            name: The teacher.
            version: Its version when the cache was made.
            weights: Digest of its weights then.
            specs: Where weights come from, as `weights.resolve` takes it; random ones are made.
            device: Where it runs.

        Raises:
            MissingDependencyError: The weights are missing, or others than those of the cache.
        """
        self._teacher = load_teacher(name)
        network = network_of(name)
        if weights and weights.startswith(RANDOM):
            specs = (f"{network}={RANDOM}",)
        found = resolve(network, self._teacher.FILES, specs)
        if (found.digest, self._teacher.VERSION) != (weights, version):
            raise MissingDependencyError(
                f"{name} here is version {self._teacher.VERSION} with weights "
                f"{found.digest[:_DIGITS]}, and this run learnt from version {version} with "
                f"{str(weights)[:_DIGITS]}; name its file with --weights {network}=FILE"
            )
        self._network = build_network(self._teacher, found, device)

    @property
    def window_s(self) -> float:
        """Seconds of sound that it hears."""
        return float(self._teacher.PARAMS.get("seconds", _KEPT_S))

    def of_frame(self, frame: NDArray[np.uint8]) -> NDArray[Any]:
        """Return the features of a frame `(H, W, 3)` uint8 RGB, as the cache stores them."""
        return self._value(self._teacher.prepare(frame))

    def of_sound(self, waveform: NDArray[Any], rate_hz: int) -> NDArray[Any]:
        """Return the features of the middle of a sound `(L,)`, mono, float in [-1, 1] or int16."""
        if waveform.ndim != 1 or not len(waveform):
            raise ValueError(f"a sound should be mono (L,), got {waveform.shape}")
        stored = _as_stored(waveform, rate_hz)
        return self._value(self._teacher.prepare(stored, len(stored) // 2))

    def of_loud_sound(self, waveform: NDArray[np.float32], at: int | None = None) -> NDArray[Any]:
        """Return the features of a part of a sound `(L,)`, 32 kHz, that may exceed full scale.

        What a teacher prepares are then floats in the units of int16, which are not clipped.

        Args:
            waveform: The sound.
            at: The sample around which it is heard; None: the middle.
        """
        middle = len(waveform) // 2 if at is None else at
        return self._value(self._teacher.prepare(waveform * FULL_SCALE, middle))

    def _value(self, given: NDArray[Any]) -> NDArray[Any]:
        value = self._network(np.stack([given]))["value"][0]
        return np.ascontiguousarray(value, self._teacher.COLUMNS["value"][0])


def _as_stored(waveform: NDArray[Any], rate_hz: int) -> NDArray[np.int16]:
    """Return a sound as the audio shards keep it: int16 at 32 kHz."""
    if waveform.dtype == np.int16 and rate_hz == AUDIO_RATE_HZ:
        return waveform
    scale = 1 / FULL_SCALE if waveform.dtype == np.int16 else 1.0
    length = max(1, round(len(waveform) * AUDIO_RATE_HZ / rate_hz))
    sound = resample(
        waveform.astype(np.float32) * np.float32(scale), rate_hz, AUDIO_RATE_HZ, length
    )
    return np.asarray(np.clip(np.rint(sound * FULL_SCALE), -FULL_SCALE, FULL_SCALE), np.int16)
