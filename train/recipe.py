"""A recipe: independent parts that say how a run learns. TOML file plus `--set key=value`."""

from __future__ import annotations

import difflib
import math
import tomllib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from types import GenericAlias
from typing import Any, Literal, get_args, get_origin, get_type_hints

from ..errors import UsageError
from ..stages.spectrogram import FRONT_ENDS

_RECIPES = Path(__file__).parent / "recipes"
_OBJECTIVES = Path(__file__).parent / "objectives"


@dataclass(frozen=True)
class Recipe:
    """All that decides how a run learns, beside its clips and its seed."""

    # What is learnt
    objective: str = "ez-vsl"  # a file of train/objectives/
    temperature: float = 0.03  # divisor of cosines
    pooling: Literal["max", "lse", "mean"] = "max"  # how a map becomes a score (ez-vsl)
    pooling_temperature: float = 0.1  # of lse
    slavc_form: Literal["code", "paper"] = "code"  # where the released code and the paper differ
    weights: dict[str, float] = field(default_factory=dict)  # of the terms; 1 where unnamed

    # Networks
    image_encoder: Literal["resnet18", "compact"] = "resnet18"
    image_init: Literal["scratch", "imagenet"] = "scratch"
    width: int = 64  # channels of the encoders' first layer
    last_layer: int = 4  # of resnet18 for images: the layer whose map is used
    last_stride: int = 2  # its stride; 1 doubles the map's side
    embed_dim: int = 512
    visual_dropout: float = 0.0  # on the image feature grid
    audio_dropout: float = 0.0
    momentum: float = 0.0  # fraction of the momentum encoders kept each step; 0: no such encoders
    ema: float = 0.0  # the same for a copy that only tests; it averages the norms' statistics too
    test_weights: Literal["online", "momentum", "ema"] = "online"  # which weights localize

    # What is seen and heard
    image_size: int = 224  # side of the square crop, and of the whole frame at test
    image_resize: int = 256  # short side of the frame that the crop is taken from
    crop_pad: int = 0  # pixels of mirrored border around that frame that a crop may reach into
    flip: float = 0.5  # probability of mirroring
    spectrogram: str = "257x276"  # front-end
    spectrogram_mean: float = 0.0  # subtracted from the log-spectrogram
    spectrogram_std: float = 12.0  # divisor; 12 in EZ-VSL, SLAVC and LVS
    audio_pool: int = 1  # the spectrogram is averaged over squares of this side
    time_shift: bool = False  # shift the 3 s window inside the sound there is

    # How
    epochs: int = 20
    batch_size: int = 128
    optimizer: Literal["adam", "adamw"] = "adam"
    lr: float = 1e-4
    weight_decay: float = 0.0
    warmup_steps: int = 0
    schedule: Literal["constant", "cosine"] = "constant"
    precision: Literal["auto", "bf16", "fp32"] = "auto"  # bf16 where the hardware has it


_HINTS = get_type_hints(Recipe)
_LIMITS: dict[str, tuple[Callable[[float], bool], tuple[str, ...]]] = {
    "above 0": (
        lambda value: 0 < value < math.inf,
        ("temperature", "pooling_temperature", "lr", "spectrogram_std"),
    ),
    "finite": (math.isfinite, ("spectrogram_mean",)),
    "at least 0": (
        lambda value: 0 <= value < math.inf,
        ("warmup_steps", "weight_decay", "crop_pad"),
    ),
    "at least 1": (lambda value: value >= 1, ("width", "embed_dim", "audio_pool", "epochs")),
    "at least 2": (lambda value: value >= 2, ("batch_size",)),
    "at least 32": (lambda value: value >= 32, ("image_size", "image_resize")),
    "2, 3 or 4": (lambda value: value in (2, 3, 4), ("last_layer",)),
    "1 or 2": (lambda value: value in (1, 2), ("last_stride",)),
    "between 0 and 1": (lambda value: 0 <= value <= 1, ("flip",)),
    "at least 0 and below 1": (
        lambda value: 0 <= value < 1,
        ("visual_dropout", "audio_dropout", "momentum", "ema"),
    ),
}
"""What numbers must be, and which keys."""


def objective_names() -> list[str]:
    """Return the objectives there are, from their file names."""
    return _names(_OBJECTIVES, ".py")


def list_recipes() -> dict[str, str]:
    """Return the recipes that come with avpipe: name to description, the file's first line."""
    return {
        name: (_RECIPES / f"{name}.toml").read_text("utf-8").partition("\n")[0].lstrip("# ")
        for name in _names(_RECIPES, ".toml")
    }


def _names(folder: Path, suffix: str) -> list[str]:
    stems = (path.stem for path in folder.iterdir() if path.suffix == suffix)
    return sorted(stem.replace("_", "-") for stem in stems if stem != "__init__")


def load_recipe(name: str, overrides: Iterable[str] = ()) -> Recipe:
    """Read a recipe.

    Args:
        name: One of `list_recipes()`, or the path of a TOML file.
        overrides: `key=value` settings that replace the file's; `weights.TERM=value` for a weight.

    Raises:
        UsageError: If there is no such recipe, or a key or value is not possible; the message names
            the file or the setting, and the key.
    """
    path = _RECIPES / f"{name}.toml" if name in list_recipes() else Path(name)
    try:
        values = tomllib.loads(path.read_text("utf-8"))
    except (FileNotFoundError, IsADirectoryError):
        known = ", ".join(list_recipes())
        raise UsageError(f"no recipe {name!r}: name one of {known}, or a TOML file") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: not TOML: {error}") from None
    origin = dict.fromkeys(values, str(path))
    for text in overrides:
        key, equals, value = text.partition("=")
        if not equals:
            raise UsageError(f"--set {text}: expected key=value")
        key, term = key.strip(), ""
        if key.startswith("weights."):
            key, _, term = key.partition(".")
        origin[key] = f"--set {text}"
        if term:
            values[key] = {**values.get(key, {}), term: _parse(value, float)}
        else:
            values[key] = _parse(value, _HINTS.get(key))
    return recipe_from(values, origin)


def recipe_from(values: Mapping[str, Any], origin: Mapping[str, str] | None = None) -> Recipe:
    """Build a recipe from plain values.

    Args:
        values: Key to value; what is missing keeps its default.
        origin: Where each value comes from, for messages.

    Raises:
        UsageError: If a key is unknown, or a value has the wrong type or range.
    """
    where = origin or {}
    for key, value in values.items():
        trouble = _unknown(key) or _misfit(key, value)
        if trouble:
            raise UsageError(f"{where.get(key, 'recipe')}: {trouble}")
    recipe = Recipe(**{key: _exact(key, value) for key, value in values.items()})
    for key, trouble in _contradictions(recipe):
        raise UsageError(f"{where.get(key, 'recipe')}: {trouble}")
    return recipe


def recipe_values(recipe: Recipe) -> dict[str, Any]:
    """Return a recipe as plain values, as `run.json` holds it."""
    return asdict(recipe)


def first_difference(found: Mapping[str, Any], recipe: Recipe) -> tuple[str, Any, Any] | None:
    """Return the first key in which `recipe` differs from stored values: (key, stored, wanted)."""
    for name, wanted in recipe_values(recipe).items():
        if found.get(name) != wanted:
            return name, found.get(name), wanted
    return None


def _parse(text: str, hint: Any) -> Any:
    """Read the value of a `--set` by the type it should have; a misfit is left to `_misfit`."""
    text = text.strip()
    if hint in (int, float):
        for number in (int, float):
            try:
                return number(text)
            except ValueError:
                continue
    if hint is bool:
        return {"true": True, "false": False}.get(text, text)
    return text


def _exact(key: str, value: Any) -> Any:
    return float(value) if _HINTS[key] is float else value


def _unknown(key: str) -> str | None:
    if key in _HINTS:
        return None
    near = difflib.get_close_matches(key, _HINTS, 1)
    return f"unknown key {key!r}" + (f" (did you mean {near[0]!r}?)" if near else "")


def _misfit(key: str, value: Any) -> str | None:
    """Say what is wrong with one value, None if nothing is."""
    hint = _HINTS[key]
    choices = get_args(hint) if get_origin(hint) is Literal else ()
    if key == "objective":
        choices = tuple(objective_names())
    if key == "spectrogram":
        choices = tuple(FRONT_ENDS)
    if choices and value not in choices:
        return f"{key} = {value!r}: expected one of {', '.join(choices)}"
    if not choices and not _is_a(value, hint):
        expected = {int: "a whole number", float: "a number", bool: "true or false", str: "text"}
        return f"{key} = {value!r}: expected {expected.get(hint, 'a table of numbers')}"
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


def _contradictions(recipe: Recipe) -> Iterable[tuple[str, str]]:
    """Yield (key, what is wrong) for parts that exclude each other."""
    default = {f.name: f.default for f in fields(Recipe)}
    if recipe.image_size > recipe.image_resize:
        yield "image_size", "image_size is larger than image_resize, the frame it is cropped from"
    if recipe.crop_pad >= recipe.image_size:
        yield "crop_pad", "crop_pad must be below image_size: the border mirrors the frame once"
    for weights in ("momentum", "ema"):
        if recipe.test_weights == weights and not getattr(recipe, weights):
            yield "test_weights", f"test_weights = {weights!r} needs {weights} above 0"
    if recipe.image_encoder == "compact":
        for key in ("last_layer", "last_stride", "image_init"):
            if getattr(recipe, key) != default[key]:
                yield key, f"{key} belongs to image_encoder = 'resnet18'"
    if recipe.image_init == "imagenet" and recipe.width != 64:
        yield "width", "image_init = 'imagenet' needs width = 64"
    if recipe.image_init == "imagenet" and recipe.last_layer != 4:
        yield "last_layer", "image_init = 'imagenet' needs last_layer = 4"
