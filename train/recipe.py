"""A recipe: independent parts that say how a run learns. TOML file plus `--set key=value`."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, get_type_hints

from ..cache.defaults import (
    AUDIO_ENCODER,
    AUDIO_TEACHER,
    IMAGE_ENCODER,
    NUM_CLUSTERS,
    NUM_NEIGHBORS,
    SPECTROGRAM,
    VISUAL_TEACHER,
)
from ..errors import UsageError
from ..stages.spectrogram import FRONT_ENDS
from .choices import Branch
from .options import older_keys, options_of
from .rules import contradictions, misfit
from .toml_file import line_of, read_toml

PREFIX = "cached:"
"""Of an encoder that is a teacher's features in the cache."""
OWN = "own"
"""In a neighbour's place: the clip itself."""
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
    objective_options: dict[str, Any] = field(default_factory=dict)  # what its file declares
    clusters: str = f"{AUDIO_ENCODER}-k{NUM_CLUSTERS}"  # pseudo-labels (spm-audio, spm)
    weights: dict[str, float] = field(default_factory=dict)  # of the terms; 1 where unnamed

    # Networks
    image_encoder: str = "resnet18"  # or compact, mobilenet-v2, cached:TEACHER (its hints)
    audio_encoder: str = "resnet18"  # or cached:TEACHER
    image_pca: int = 0  # principal components of cached features that are kept; 0: all as they are
    audio_pca: int = 0  # the same
    whiten: bool = False  # bring these to one variance
    mean_shift: float = 0.0  # cells of images move to those like them, by exp(cosine / this)
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
    test_weights: Branch = "online"  # which weights localize

    # What is imitated
    hints: Literal["none", "audio", "visual", "both"] = "none"  # teachers' features
    audio_teacher: str = AUDIO_TEACHER  # whose hints
    visual_teacher: str = VISUAL_TEACHER  # whose hints
    hint_scale: Literal["raw", "standard"] = "raw"  # standard: mean 0, deviation 1 over the clips
    hint_norm: Literal["sample", "cell"] = "sample"  # what has length 1 before they are compared
    hint_align: Literal["roi", "flip", "none"] = "none"  # how hints follow the crop of the frame

    # What is seen and heard
    views: Literal["single", "augmented", "neighbour", "multi"] = "single"  # multi: all three
    num_neighbors: int = NUM_NEIGHBORS  # the neighbour is one of so many
    image_neighbors: str = IMAGE_ENCODER  # what knows which images are near, or own
    audio_neighbors: str = AUDIO_ENCODER  # and which sounds
    partners: Literal["own", "source", "nearest", "both"] = "own"  # of one video; nearest sound
    nearest_share: float = 1.0  # how often the nearest sound stands in for a clip's own
    image_size: int = 224  # side of the square crop, and of the whole frame at test
    image_resize: int = 256  # short side of the frame that the crop is taken from
    image_test: Literal["squash", "tensor", "crop"] = "squash"  # how the whole frame becomes square
    crop_pad: int = 0  # pixels of mirrored border around that frame that a crop may reach into
    crop_area: float = 0.08  # smallest share of the frame in the augmented view
    colour: float = 1.0  # strength of its changes of colour
    blur: float = 0.5  # probability that it is blurred
    flip: float = 0.5  # probability of mirroring
    spectrogram: str = SPECTROGRAM  # front-end
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

    def option(self, name: str) -> Any:
        """Return an option of the objective: the recipe's value, else what its file declares."""
        return self.objective_options.get(name, options_of(self.objective)[name].default)

    @property
    def image_teacher(self) -> str | None:
        """Whose cached features are seen; None where an encoder is trained."""
        return _teacher_of(self.image_encoder)

    @property
    def sound_teacher(self) -> str | None:
        """Whose cached features are heard; None where an encoder is trained."""
        return _teacher_of(self.audio_encoder)

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
ENCODERS = {
    "image_encoder": ("resnet18", "compact", "mobilenet-v2"),
    "audio_encoder": ("resnet18",),
}
"""Those that are trained."""


def _teacher_of(encoder: str) -> str | None:
    return encoder.removeprefix(PREFIX) if encoder.startswith(PREFIX) else None


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
        overrides: `key=value` settings that replace the file's; `weights.TERM=value` for a weight,
            `objective.OPTION=value` for an option of the objective.

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
    values |= _opened(values, "objective")
    keys = list(values)
    strange = (at for at, key in enumerate(keys) if key not in _HINTS and not _may_be_option(key))
    unknown = next(strange, len(keys))
    origin = {  # of what can be named: nothing behind the first unknown key is looked at
        key: f"{path}: {_line_of(written, key)}".removesuffix(": ") for key in keys[: unknown + 1]
    }
    for text in overrides:
        key, equals, value = (word.strip() for word in text.partition("="))
        if not equals:
            raise UsageError(f"--set {text}: expected key=value")
        table, dot, term = key.partition(".")
        if (table, dot) == ("weights", "."):
            weights = values.get(table, {})
            if isinstance(weights, dict):  # else refused below, with where it was set
                values[table], origin[table] = (
                    {**weights, term: _parse(value, float)},
                    f"--set {text}",
                )
        else:
            objective = str(values.get("objective", Recipe.objective))
            values[key], origin[key] = _parse(value, _type_of(key, objective)), f"--set {text}"
    return recipe_from(values, origin)


def _opened(values: dict[str, Any], table: str) -> dict[str, Any]:
    """Write a table `[objective]` as the keys `objective`, its name, and `objective.OPTION`."""
    found = values.get(table)
    if not isinstance(found, dict):
        return {}
    del values[table]
    return {table if key == "name" else f"{table}.{key}": value for key, value in found.items()}


def _may_be_option(key: str) -> bool:
    """Whether a key may speak of an objective's option."""
    return key.startswith("objective.") or key in older_keys(objective_names())


def _line_of(written: str, key: str) -> str:
    """Say where a key, or an option of the objective, stands in a file."""
    table, dot, option = key.partition(".")
    if dot:
        return line_of(written, option, table) or line_of(written, key)
    return line_of(written, key) or line_of(written, table=key)


def _type_of(key: str, objective: str) -> Any:
    """Return the type that the value of a `--set` should have."""
    older = [(objective, key.partition(".")[2]), *older_keys(objective_names()).get(key, ())]
    for owner, name in older:
        if option := options_of(owner).get(name):
            return type(option.default)
    return _HINTS.get(key)


def recipe_from(values: Mapping[str, Any], origin: Mapping[str, str] | None = None) -> Recipe:
    """Build a recipe from plain values.

    Args:
        values: Key to value; what is missing keeps its default. `objective.OPTION` is an option of
            the objective.
        origin: Where each value comes from, for messages.

    Raises:
        UsageError: If a key is unknown, or a value has the wrong type or range.
    """
    where = origin or {}
    choices = {"objective": objective_names(), "spectrogram": list(FRONT_ENDS), **_encoders(values)}
    plain, options = _split(values)
    for key, value in plain.items():
        trouble = _unknown(key) or misfit(key, value, _HINTS[key], choices)
        if trouble:
            raise UsageError(f"{where.get(key, 'recipe')}: {trouble}")
    exact = {key: _exact(key, value) for key, value in plain.items()}
    objective = exact.get("objective", Recipe.objective)
    recipe = Recipe(**exact, objective_options=_checked(objective, options, where))
    for key, trouble in contradictions(recipe):
        raise UsageError(f"{where.get(key, 'recipe')}: {trouble}")
    return recipe


def _encoders(values: Mapping[str, Any]) -> dict[str, list[str]]:
    """Return the encoders there are; of cached features any teacher may be named."""
    found = {}
    for key, names in ENCODERS.items():
        given = str(values.get(key, ""))
        named = [given] if given.startswith(PREFIX) and given != PREFIX else []
        found[key] = [*names, *(named or [f"{PREFIX}TEACHER"])]
    return found


def _split(values: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Part a recipe's own keys from its objective's options, by the keys they were given under."""
    older = older_keys(objective_names())
    plain, options = {}, dict[str, Any]()
    for key, value in values.items():
        if key == "objective_options" and isinstance(value, Mapping):
            options |= {f"objective.{name}": item for name, item in value.items()}
        elif key in older or key.startswith("objective."):
            options[key] = value
        else:
            plain[key] = value
    return plain, options


def _checked(objective: str, given: Mapping[str, Any], where: Mapping[str, str]) -> dict[str, Any]:
    """Return all options of an objective: those given, checked, and the defaults of the others.

    A key of older recipes may belong to another objective: it is checked, and then it says nothing.
    """
    own, older = options_of(objective), older_keys(objective_names())
    chosen = {name: option.default for name, option in own.items()}
    for key, value in given.items():
        owners = older.get(key) or [(objective, key.partition(".")[2])]
        owner, name = next((one for one in owners if one[0] == objective), owners[0])
        option = options_of(owner).get(name)
        if option is None:
            raise UsageError(
                f"{where.get(key, 'recipe')}: {_no_option(objective, name, list(own))}"
            )
        if trouble := option.misfit(value):
            raise UsageError(f"{where.get(key, 'recipe')}: {key} = {value!r}: {trouble}")
        if owner == objective:
            chosen[name] = type(option.default)(value)
    return chosen


def _no_option(objective: str, name: str, own: list[str]) -> str:
    known = f"it has {', '.join(own)}" if own else "it has none"
    return f"objective {objective!r} has no option {name!r}: {known}"


def recipe_values(recipe: Recipe) -> dict[str, Any]:
    """Return a recipe as plain values, as `run.json` holds it."""
    return asdict(recipe)


def first_difference(found: Mapping[str, Any], recipe: Recipe) -> tuple[str, Any, Any] | None:
    """Return the first key in which `recipe` differs from stored values: (key, stored, wanted)."""
    pairs = [(name, found.get(name), value) for name, value in recipe_values(recipe).items()]
    for name, stored, wanted in pairs:
        if name == "objective_options":
            keys = sorted({*(stored or {}), *wanted})
            pairs += [
                (f"objective.{key}", (stored or {}).get(key), wanted.get(key)) for key in keys
            ]
        elif stored != wanted:
            return name, stored, wanted
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
