"""Released weights of other laboratories as runs: their names, their front-end, their transform.

Names and shapes of the released files: docs/checkpoints.md. Nothing is unpickled.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...drafts import remove_orphans, whole_folder
from ...errors import CacheCorruptError, InputError, UsageError
from ...weights import file_digest, read_checkpoint, require_exact, section
from ..recipe import Recipe, load_recipe
from .checkpoint import latest_checkpoint, save_checkpoint
from .exported import is_left_of_export
from .made_by import note
from .record import RunRecord, library_versions, read_record, write_record

if TYPE_CHECKING:
    from torch import Tensor

IMPORTED = "import-checkpoint"
"""The command, by which `commands.json` knows a run that was imported."""
_MOMENTUM = "momentum_"
_APACHE = "code Apache-2.0, nothing said of the weights"


@dataclass(frozen=True)
class Peer:
    """What is known of one laboratory's released weights.

    Attributes:
        recipe: Our recipe of the same network.
        settings: What it hears and sees otherwise.
        below: Key of the tensors in the file.
        names: Beginnings of our names and of theirs; the first that fits holds.
        unused: Beginnings of their names that no map depends on.
        ignore_others: Their loader passes over modules it does not know, so we do.
        variants: Released files of one network, with what is told of each.
        licence: Of code and weights, as their repository says.
    """

    recipe: str
    below: str
    names: Mapping[str, str]
    licence: str
    settings: tuple[str, ...] = ()
    unused: tuple[str, ...] = ()
    ignore_others: bool = False
    variants: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


_ENCODERS = {"image_encoder.": "imgnet.", "audio_encoder.": "audnet."}
# Each ResNet18 of LVS owns the first layers of three modalities and a classifier.
_LVS_NAMES = {"audio_encoder.conv1.": "audnet.conv1_a.", **_ENCODERS}
_LVS_UNUSED = (
    *(f"imgnet.{name}." for name in ("conv1_a", "conv1_flow", "fc")),
    *(f"audnet.{name}." for name in ("conv1", "conv1_flow", "fc")),
)

PEERS = {
    "slavc": Peer(
        recipe="slavc",
        below="model",
        names={
            **_ENCODERS,
            "image_heads.0.": "img_proj1.",  # correspondence: softmax over sounds
            "image_heads.1.": "img_proj2.",  # localization: softmax over cells
            "audio_heads.0.": "aud_proj1.",
            "audio_heads.1.": "aud_proj2.",
        },
        licence=_APACHE,
    ),
    "ez-vsl": Peer(
        recipe="ez-vsl",
        below="model",
        names={**_ENCODERS, "image_heads.0.": "img_proj.", "audio_heads.0.": "aud_proj."},
        licence=_APACHE,
    ),
    "lvs": Peer(
        recipe="lvs",
        below="model_state_dict",
        names=_LVS_NAMES,
        unused=_LVS_UNUSED,
        settings=("spectrogram=16k-257x671",),
        licence=_APACHE,
    ),
    "ssl-alignment": Peer(
        recipe="multi-positive",
        below="model_state_dict",
        names=_LVS_NAMES,
        unused=_LVS_UNUSED,
        ignore_others=True,
        settings=("spectrogram=16k-257x299", "image_test=tensor", "pooled_projection=none"),
        variants={"sup": (), "selfsup": (), "sup-previs": ("image_init=imagenet",)},
        licence="none in the repository: all rights reserved",
    ),
}


def import_checkpoint(
    path: Path,
    peer_name: str,
    run_dir: Path,
    *,
    variant: str | None = None,
    settings: Sequence[str] = (),
    trained_on: Sequence[str] = (),
) -> tuple[RunRecord, bool]:
    """Make a run of a peer's released weights.

    Args:
        path: The file as released, or its tensors as safetensors.
        peer_name: One of `PEERS`.
        run_dir: Folder of the run: absent, empty, or holding this very import.
        variant: Which of the peer's files it is; None to tell by the released file's name.
        settings: `key=value` of the recipe, where the weights are to be used otherwise.
        trained_on: Ids it was trained on, for the report of leaked clips.

    Returns:
        The run's record, and whether it was there before.

    Raises:
        UsageError: No such peer or variant, a setting that wants other weights, or `run_dir` holds
            something that is no run, or an exported one.
        InputError: There is no such file, or it holds other things than tensors.
        MissingDependencyError: It is damaged, or not these weights.
        CacheCorruptError: `run_dir` holds another run.
        CacheUnwritableError: The run cannot be written.
    """
    if peer_name not in PEERS:
        raise UsageError(f"--from {peer_name}: one of {', '.join(PEERS)}")
    peer = PEERS[peer_name]
    variant = variant or _variant_of(path, peer)
    if variant is not None and variant not in peer.variants:
        names = ", ".join(peer.variants) or "only one network"
        raise UsageError(f"--variant {variant}: {peer_name} has {names}")
    told = peer.variants.get(variant or "", ())
    recipe = load_recipe(peer.recipe, [*peer.settings, *told, *settings])
    if is_left_of_export(run_dir):
        raise UsageError(f"{run_dir} holds an exported run; name another folder with --run")
    if not path.exists():
        raise InputError(f"{path}: No such file or directory")
    _refuse_other_weights(peer_name, recipe, load_recipe(peer.recipe, [*peer.settings, *told]))
    weights, left_out = read_released(path, peer_name, recipe)
    record = RunRecord(
        recipe=recipe,
        recipe_name="-".join(filter(None, (peer_name, variant))),
        seed=0,
        cache="",
        data="",
        batch_size=recipe.batch_size,
        ids=tuple(trained_on),
        versions=library_versions(),
        imported={
            "from": peer_name,
            "variant": variant,
            "file": path.name,
            "sha256": file_digest([path]),
            "tensors": len(weights) + len(left_out),
            "left_out": left_out,
            "licence": peer.licence,
        },
    )
    if (run_dir / "run.json").exists():
        _require_same_import(run_dir, record)
        note(run_dir, IMPORTED, arguments=[str(path)])
        if latest_checkpoint(run_dir):
            return record, True
        save_checkpoint(run_dir, 0, weights, {}, record)  # one that was damaged, and was removed
        return record, False
    _write(run_dir, record, weights, path)
    return record, False


def read_released(
    path: Path, peer_name: str, recipe: Recipe
) -> tuple[dict[str, Tensor], list[str]]:
    """Read a peer's file as the weights of a run.

    Returns:
        Weights as a checkpoint holds them, and the names of what is left out.

    Raises:
        MissingDependencyError: The file is absent, damaged, or not these weights.
    """
    import torch

    peer = PEERS[peer_name]
    given = _tensors(path, peer.below)
    ours = _without_values(recipe)
    our_name = {_their_name(name, peer.names): name for name in ours}
    left_out = sorted(name for name in given if name.startswith(peer.unused or "\0"))
    if peer.ignore_others:
        modules = {name.partition(".")[0] for name in our_name}
        left_out += sorted(name for name in given if name.partition(".")[0] not in modules)
    used = {name: given[name] for name in given.keys() - set(left_out)}
    wanted = {theirs: ours[name] for theirs, name in our_name.items()}
    require_exact(used, wanted, path, peer_name)
    old = {name: torch.zeros((), dtype=torch.long) for name in wanted.keys() - used.keys()}
    weights = {
        our_name[name]: value.to(wanted[name].dtype, copy=True)  # two names may share one memory
        for name, value in {**old, **used}.items()
    }
    return weights, left_out


def _refuse_other_weights(peer_name: str, recipe: Recipe, released: Recipe) -> None:
    """See that no setting wants weights that the released network does not have.

    Raises:
        UsageError: One does.
    """
    known = {name: tensor.shape for name, tensor in _without_values(released).items()}
    for key in (one.name for one in fields(recipe)):
        value = getattr(recipe, key)
        if value == getattr(released, key):
            continue
        added = key == "hints" or any(
            known.get(name) != tensor.shape
            for name, tensor in _without_values(replace(released, **{key: value})).items()
        )
        if added:
            raise UsageError(
                f"--set {key}={value}: wants weights that the files of {peer_name} do not hold; "
                "leave it out"
            )


def _without_values(recipe: Recipe) -> dict[str, Tensor]:
    """Return what a checkpoint of a recipe holds: names and shapes alone."""
    import torch

    from ..data.columns import Inputs
    from ..learner import build_student
    from ..objectives import load_objective

    inputs = Inputs(num_classes=1)  # torch warns of a classifier of none
    with torch.device("meta"):
        return build_student(recipe, load_objective(recipe.objective), 0, inputs).state_dict()


def _tensors(path: Path, below: str) -> dict[str, Tensor]:
    """Read named tensors, below a key or bare; `DataParallel`'s prefix is taken off."""
    found: Mapping[str, Any] = read_checkpoint(path)
    if below in found or not _are_tensors(found):
        found = section(found, below, path)
    if not _are_tensors(found):
        raise InputError(f"{path}: {below!r} holds more than named tensors")
    return {name.removeprefix("module."): value for name, value in found.items()}


def _are_tensors(found: Mapping[str, Any]) -> bool:
    from torch import Tensor

    return all(isinstance(n, str) and isinstance(v, Tensor) for n, v in found.items())


def _their_name(name: str, names: Mapping[str, str]) -> str:
    """Return what a peer calls a parameter of ours."""
    branch, _, rest = name.partition(".")
    for ours, theirs in names.items():
        if rest.startswith(ours):
            prefix = _MOMENTUM if branch == "momentum" else ""
            return prefix + theirs + rest.removeprefix(ours)
    raise KeyError(name)


def _variant_of(path: Path, peer: Peer) -> str | None:
    """Tell a variant by the name of the released file, `ours_sup_previs.pth.tar`."""
    released = {f"ours_{name.replace('-', '_')}": name for name in peer.variants}
    return released.get(path.name.partition(".")[0])


def _require_same_import(run_dir: Path, record: RunRecord) -> None:
    """See that a folder holds this very import."""
    found = read_record(run_dir)
    for key in ("imported", "recipe", "ids"):
        if getattr(found, key) != getattr(record, key):
            raise CacheCorruptError(
                f"{run_dir} holds another run: {key} is not the same; name another folder with "
                "--run"
            )


def _write(run_dir: Path, record: RunRecord, weights: dict[str, Tensor], path: Path) -> None:
    """Write a run beside its place, then rename it: it is there whole or not at all."""
    target = run_dir.absolute()
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise UsageError(f"{run_dir} is there and holds no run; name another folder with --run")
    remove_orphans(target.parent)
    with whole_folder(target) as draft:
        save_checkpoint(draft, 0, weights, {}, record)
        write_record(draft, record)
        note(draft, IMPORTED, arguments=[str(path)], is_draft=True)
