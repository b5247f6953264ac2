"""A recipe: independent parts that say how a run learns. TOML file plus `--set key=value`."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, get_type_hints

from ..errors import UsageError
from ..stages.spectrogram import FRONT_ENDS
from .recipe_rules import contradictions, misfit
from .toml_file import line_of, read_toml

_RECIPES = Path(__file__).parent / "recipes"
_OBJECTIVES = Path(__file__).parent / "objectives"


@dataclass(frozen=True)
class Recipe:
    """All that decides how a run learns, beside its clips and its seed."""

    # What is learnt
    objective: str = "ez-vsl"  # a file of train/objectives/
    temperature: float = 0.03  # divisor of cosines
    pooling: Literal["max", "lse", "mean", "topk"] = "max"  # map to score (ez-vsl, alignment)
    pooling_temperature: float = 0.1  # of lse
    pooling_share: float = 0.1  # of topk: the share of cells that is averaged
    slavc_form: Literal["code", "paper"] = "code"  # where the released code and the paper differ
    lvs_form: Literal["code", "paper"] = "code"  # the same
    sound_threshold: float = 0.65  # cosine above which a cell sounds (lvs, spm)
    silence_threshold: float = 0.4  # cosine below which a cell is silent (lvs)
    mask_temperature: float = 0.03  # softness of both
    clusters: str = "vggsound-resnet18-k11"  # pseudo-labels (spm-audio, spm)
    weights: dict[str, float] = field(default_factory=dict)  # of the terms; 1 where unnamed

    # Networks
    image_encoder: Literal["resnet18", "compact", "mobilenet-v2"] = "resnet18"
    image_init: Literal["scratch", "imagenet"] = "scratch"
    audio_init: str = "scratch"  # or a run, whose encoder of sounds is taken
    audio_frozen: bool = True  # an encoder taken from a run stays as it is
    width: int = 64  # channels of the encoders' first layer
    last_layer: int = 4  # of resnet18 for images: the layer whose map is used
    last_stride: int = 2  # its stride; 1 doubles the map's side
    audio_last_stride: int = 2  # stride of layer 4 for sounds
    projection: Literal["linear", "mlp", "none"] = "linear"  # from features to the common space
    pooled_projection: Literal["linear", "none"] = "linear"  # the same of wholes (alignment)
    embed_dim: int = 512
    batch_norm: Literal["batch", "frozen", "sync"] = "batch"  # frozen: statistics stay; sync: GPUs
    visual_dropout: float = 0.0  # on the image feature grid
    audio_dropout: float = 0.0
    momentum: float = 0.0  # fraction of the momentum encoders kept each step; 0: no such encoders
    momentum_buffers: bool = False  # average the norms' statistics too
    ema: float = 0.0  # the same for a copy that only tests; it averages the norms' statistics too
    test_weights: Literal["online", "momentum", "ema"] = "online"  # which weights localize

    # What is imitated
    hints: Literal["none", "audio", "visual", "both"] = "none"  # teachers' features
    audio_teacher: str = "panns-wavegram"  # whose hints
    visual_teacher: str = "detr-r50"  # whose hints
    hint_norm: Literal["sample", "cell"] = "sample"  # what has length 1 before they are compared
    hint_align: Literal["roi", "flip", "none"] = "none"  # how hints follow the crop of the frame

    # What is seen and heard
    views: Literal["single", "augmented", "neighbour", "multi"] = "single"  # multi: all three
    num_neighbors: int = 1000  # the neighbour is one of so many
    image_neighbors: str = "imagenet-resnet18"  # encoder that knows which images are near
    audio_neighbors: str = "vggsound-resnet18"  # and which sounds
    partners: Literal["own", "source", "nearest", "both"] = "own"  # of one video; nearest sound
    image_size: int = 224  # side of the square crop, and of the whole frame at test
    image_resize: int = 256  # short side of the frame that the crop is taken from
    image_test: Literal["squash", "tensor", "crop"] = "squash"  # how the whole frame becomes square
    crop_pad: int = 0  # pixels of mirrored border around that frame that a crop may reach into
    crop_area: float = 0.08  # smallest share of the frame in the augmented view
    colour: float = 1.0  # strength of its changes of colour
    blur: float = 0.5  # probability that it is blurred
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

    @property
    def view_names(self) -> tuple[str, ...]:
        """The views of each clip and modality: the anchor, and those that `views` adds."""
        augmented = ("augmented",) if self.views in ("augmented", "multi") else ()
        neighbour = ("neighbour",) if self.views in ("neighbour", "multi") else ()
        return "anchor", *augmented, *neighbour

    @property
    def hint_names(self) -> tuple[str, ...]:
        """The hints that are imitated, which are terms of the loss too."""
        both = ("audio_hint", "visual_hint")
        return {"none": (), "audio": both[:1], "visual": both[1:], "both": both}[self.hints]


_HINTS = get_type_hints(Recipe)


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
            the file and line or the setting, and the key.
    """
    path = _RECIPES / f"{name}.toml" if name in list_recipes() else Path(name)
    try:
        values, written = read_toml(path)
    except OSError as error:
        known = ", ".join(list_recipes())
        raise UsageError(
            f"no recipe {name!r} ({error.strerror}): name one of {known}, or a TOML file"
        ) from None
    except ValueError as error:  # also of bytes that are no text, and of numbers without end
        raise UsageError(f"{path}: not TOML: {error}") from None
    origin = {
        key: f"{path}: {line_of(written, key) or line_of(written, table=key)}".removesuffix(": ")
        for key in values
    }
    for text in overrides:
        key, equals, value = text.partition("=")
        if not equals:
            raise UsageError(f"--set {text}: expected key=value")
        key, term = key.strip(), ""
        if key.startswith("weights."):
            key, _, term = key.partition(".")
        table = values.get(key, {})
        if term and not isinstance(table, dict):
            continue  # told below, with where it was set
        origin[key] = f"--set {text}"
        if term:
            values[key] = {**table, term: _parse(value, float)}
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
    choices = {"objective": objective_names(), "spectrogram": list(FRONT_ENDS)}
    for key, value in values.items():
        trouble = _unknown(key) or misfit(key, value, _HINTS[key], choices)
        if trouble:
            raise UsageError(f"{where.get(key, 'recipe')}: {trouble}")
    recipe = Recipe(**{key: _exact(key, value) for key, value in values.items()})
    for key, trouble in contradictions(recipe):
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
    """Read the value of a `--set` by the type it should have; a misfit is left to `misfit`."""
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
