"""Which values a recipe may have, and which parts exclude each other."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import fields
from types import GenericAlias
from typing import TYPE_CHECKING, Any, Literal, get_args, get_origin

from ..stages.spectrogram import FRONT_ENDS
from .options import refusals_of

if TYPE_CHECKING:
    from .recipe import Recipe

_LIMITS: dict[str, tuple[Callable[[float], bool], tuple[str, ...]]] = {
    "above 0": (
        lambda value: 0 < value < math.inf,
        ("temperature", "pooling_temperature", "lr", "spectrogram_std"),
    ),
    "above 0 and at most 1": (
        lambda value: 0 < value <= 1,
        ("pooling_share", "crop_area", "nearest_share"),
    ),
    "finite": (math.isfinite, ("spectrogram_mean",)),
    "at least 0": (
        lambda value: 0 <= value < math.inf,
        ("warmup_steps", "weight_decay", "crop_pad", "colour", "mean_shift"),
    ),
    "at least 1": (
        lambda value: value >= 1,
        ("epochs", "num_neighbors"),
    ),
    "between 1 and 65536": (lambda value: 1 <= value <= 65536, ("embed_dim",)),
    "between 1 and 200, the columns of the shortest spectrogram": (
        lambda value: 1 <= value <= 200,
        ("audio_pool",),
    ),
    "at least 2": (lambda value: value >= 2, ("batch_size",)),
    "0, or a number of components": (lambda value: 0 <= value <= 65536, ("image_pca", "audio_pca")),
    # torch 2.11 writes outside its memory in the backward pass of a strided 1 x 1 convolution of
    # fewer channels on the CPU.
    "at least 16 (torch cannot be trusted with narrower layers) and at most 4096": (
        lambda value: 16 <= value <= 4096,
        ("width",),
    ),
    "between 32 and 256, the short side of stored frames": (
        lambda value: 32 <= value <= 256,
        ("image_size", "image_resize"),
    ),
    "2, 3 or 4": (lambda value: value in (2, 3, 4), ("last_layer",)),
    "1 or 2": (lambda value: value in (1, 2), ("last_stride", "audio_last_stride")),
    "between 0 and 1": (lambda value: 0 <= value <= 1, ("flip", "blur")),
    "at least 0 and below 1": (
        lambda value: 0 <= value < 1,
        ("visual_dropout", "audio_dropout", "momentum", "ema"),
    ),
}
"""What numbers must be, and which keys."""


def misfit(key: str, value: Any, hint: Any, named: Mapping[str, Sequence[str]]) -> str | None:
    """Say what is wrong with one value, None if nothing is.

    Args:
        key: A key of the recipe.
        value: Its value.
        hint: The type it should have.
        named: Choices of keys that name a file or a front-end.
    """
    choices = get_args(hint) if get_origin(hint) is Literal else named.get(key, ())
    if choices and value not in choices:
        return f"{key} = {value!r}: expected one of {', '.join(choices)}"
    if not choices and not _is_a(value, hint):
        expected = {int: "a whole number", float: "a number", bool: "true or false", str: "text"}
        return f"{key} = {value!r}: expected {expected.get(hint, 'a table of numbers')}"
    numbers = value.values() if isinstance(value, dict) else (value,)
    if any(isinstance(number, int) and abs(number) >= 1 << 63 for number in numbers):
        return f"{key}: a whole number has at most 64 bits"
    if isinstance(value, dict) and not all(0 <= item < math.inf for item in value.values()):
        return f"{key} = {value!r}: must be finite and at least 0"
    for limit, (holds, keys) in _LIMITS.items():
        if key in keys and not holds(value):
            return f"{key} = {value!r}: must be {limit}"
    return None


def _is_a(value: Any, hint: Any) -> bool:
    if isinstance(hint, GenericAlias):
        return isinstance(value, dict) and all(_is_a(item, float) for item in value.values())
    if hint in (int, float) and isinstance(value, bool):
        return False
    return isinstance(value, int | float if hint is float else hint)


def _without(recipe: Recipe) -> Iterable[tuple[str, tuple[str, ...]]]:
    """Yield (key of an encoder, keys that mean nothing for the one that was chosen)."""
    if recipe.image_teacher:
        yield (
            "image_encoder",
            ("last_layer", "last_stride", "image_init", "image_test", "crop_pad", "colour", "blur"),
        )
    elif recipe.image_encoder == "compact":
        yield "image_encoder", ("last_layer", "last_stride", "image_init")
    elif recipe.image_encoder == "mobilenet-v2":
        yield "image_encoder", ("last_layer", "last_stride")
    if recipe.sound_teacher:
        yield (
            "audio_encoder",
            ("audio_init", "audio_last_stride", "audio_pool", "time_shift", "spectrogram"),
        )


def contradictions(recipe: Recipe) -> Iterable[tuple[str, str]]:
    """Yield (key, what is wrong) for parts that exclude each other."""
    default = {f.name: f.default for f in fields(recipe)}
    if recipe.image_size > recipe.image_resize:
        yield "image_size", "image_size is larger than image_resize, the frame it is cropped from"
    if recipe.crop_pad >= recipe.image_size:
        yield "crop_pad", "crop_pad must be below image_size: the border mirrors the frame once"
    if recipe.time_shift and not FRONT_ENDS[recipe.spectrogram].margin:
        yield (
            "time_shift",
            f"time_shift has no sound beside the window of spectrogram = {recipe.spectrogram!r}, "
            "which hears all of it: leave it out",
        )
    if recipe.partners in ("nearest", "both") and recipe.audio_neighbors == "own":
        yield (
            "audio_neighbors",
            f"partners = {recipe.partners!r} takes the nearest other sound: name the encoder that "
            "knows it with audio_neighbors",
        )
    for weights in ("momentum", "ema"):
        if recipe.test_weights == weights and not getattr(recipe, weights):
            yield "test_weights", f"test_weights = {weights!r} needs {weights} above 0"
    for encoder, keys in _without(recipe):
        for key in keys:
            if getattr(recipe, key) != default[key]:
                owner = "'resnet18' or 'mobilenet-v2'" if key == "image_init" else "'resnet18'"
                given = getattr(recipe, encoder)
                plain = "cached features" if ":" in given else f"{given!r}"
                yield (
                    key,
                    f"{key} belongs to {encoder} = {owner}; with {plain} leave it out, or "
                    f"--set {key}={default[key]}",
                )
    for key, teacher in (("image_pca", recipe.image_teacher), ("audio_pca", recipe.sound_teacher)):
        if getattr(recipe, key) and not teacher:
            encoder = "image_encoder" if key == "image_pca" else "audio_encoder"
            yield key, f"{key} is of cached features: it needs {encoder} = 'cached:TEACHER'"
    if recipe.whiten and not (recipe.image_pca or recipe.audio_pca):
        yield "whiten", "whiten is of principal components: it needs image_pca or audio_pca"
    if recipe.mean_shift and not recipe.image_pca:
        yield "mean_shift", "mean_shift is of principal components: it needs image_pca above 0"
    is_resnet = recipe.image_encoder == "resnet18"
    if is_resnet and recipe.image_init == "imagenet" and recipe.width != 64:
        yield "width", "image_init = 'imagenet' needs width = 64"
    if is_resnet and recipe.image_init == "imagenet" and recipe.last_layer != 4:
        yield "last_layer", "image_init = 'imagenet' needs last_layer = 4"
    for key in ("projection", "pooled_projection"):
        alike = is_resnet and recipe.last_layer == 4
        if getattr(recipe, key) == "none" and not alike:
            yield (
                key,
                f"{key} = 'none' needs image_encoder = 'resnet18' and last_layer = 4: as many "
                "features of an image as of a sound",
            )
    for key, refusal in refusals_of(recipe.objective).items():
        value = getattr(recipe, key)
        if value in refusal.values or (not refusal.values and value != default[key]):
            yield key, refusal.why.format(value=value)
