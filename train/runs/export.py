"""A run as files that load without avpipe: `model.safetensors`, and `model.json` beside it.

The JSON says all that the map depends on: every layer with its sizes, how frames and sound are
brought to the network, where the map's cells lie. docs/checkpoints.md reads it with torch alone.
With `run.json` the folder is a run for `load_run`, too; README.md is its card.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from safetensors.torch import save
from torch import nn

from ...cache.schema import id_set_digest
from ...drafts import remove_orphans, whole_folder, write_whole
from ...errors import UsageError
from ...stages.spectrogram import FLOOR, FRONT_ENDS, LEAST, NUM_FFT, SEGMENT, TOP_DB
from ..data.augment import IMAGE_MEAN, IMAGE_STD
from ..nets.encoders import Block
from ..nets.model import AudioVisualModel, build_model
from ..objectives import require_sight
from ..recipe import Recipe, recipe_values
from .card import card_text, read_scores
from .checkpoint import require_checkpoint
from .exported import CARD, DESCRIPTION, RECORD, WEIGHTS, takes_export
from .localizer import branch_weights, load_into
from .record import RunRecord, read_record, write_record
from .sealed import seal, sign

SCHEMA = "avpipe.model/1"


def export_run(run_dir: Path, out: Path, licence: str | None = None) -> dict[str, Path]:
    """Write the network that a run tests with, its description, its record and its card.

    Args:
        run_dir: The run.
        out: Folder of the files; one that is not there appears when it is whole.
        licence: Of the weights, for the card.

    Returns:
        `weights`, `record`, `card` and `description`, where they are.

    Raises:
        InputError: No run, no checkpoint, or a run that only classifies sounds.
        CacheCorruptError: Page or checkpoint is damaged.
        UsageError: `out` is a file, or holds the run itself or anything else but an export.
        CacheUnwritableError: They cannot be written.
    """
    if out.exists() and not out.is_dir():
        raise UsageError(f"{out} is no folder: name one with --out")
    if out.resolve() == run_dir.resolve():
        raise UsageError(f"{out} is the run itself: name another folder with --out")
    if out.exists() and not takes_export(out):
        raise UsageError(f"{out} is not empty, and holds no export: name another folder with --out")
    record = read_record(run_dir)
    objective = require_sight(record.recipe.objective)
    checkpoint, step = require_checkpoint(run_dir, record)
    model = build_model(record.recipe, objective.NEEDS, record.seed, record.features)
    tensors = branch_weights(run_dir, checkpoint, record.recipe.test_weights)
    load_into(model, tensors, run_dir)
    content = save({name: tensor.contiguous() for name, tensor in tensors.items()})
    description = {
        "schema": SCHEMA,
        "weights": {
            "file": WEIGHTS,
            "sha256": hashlib.sha256(content).hexdigest(),
            "tensors": len(tensors),
        },
        "image": _features(record, "image") or _image(record.recipe),
        "audio": _features(record, "audio") or _audio(record.recipe),
        "network": _network(model),
        "map": _map(model, record.recipe),
        "recipe": recipe_values(record.recipe),
        "provenance": _provenance(record, step),
    }
    name = run_dir.resolve().name
    card = card_text(name, record, step, read_scores(run_dir), licence)
    names = {"weights": WEIGHTS, "record": RECORD, "card": CARD, "description": DESCRIPTION}
    files = {key: out / name for key, name in names.items()}
    with _filled(out) as folder:
        write_whole(folder / WEIGHTS, content)
        write_record(folder, replace(record, cache=""))  # a path of this machine
        write_whole(folder / CARD, sign(card))
        text = json.dumps(seal(description), indent=1) + "\n"
        write_whole(folder / DESCRIPTION, text.encode())
    return files


@contextmanager
def _filled(out: Path) -> Iterator[Path]:
    """Give a folder to write into: the export itself, or one that takes its place once it is whole.

    Files of an export that is there are replaced one by one.
    """
    if out.exists():
        remove_orphans(out)
        yield out
        return
    target = out.absolute()
    remove_orphans(target.parent)
    with whole_folder(target) as draft:
        yield draft


def _features(record: RunRecord, modality: str) -> dict[str, Any] | None:
    """Say which teacher's features are the network's input; None where pixels or sound are."""
    cached = record.features.get(modality)
    if cached is None:
        return None
    rotated = "basis @ (features - mean), the encoder's tensors, at every cell"
    if modality == "image" and record.recipe.mean_shift:
        rotated += (
            "; then each cell is the mean of all of its map, weighted by exp(cosine with it / "
            f"{record.recipe.mean_shift:g})"
        )
    return {
        "kind": "features",
        **asdict(cached),
        "reduced": rotated if getattr(record.recipe, f"{modality}_pca") else "as they are",
        "input": "(B, C, h, w) of the whole frame" if modality == "image" else "(B, C)",
    }


def _image(recipe: Recipe) -> dict[str, Any]:
    """Say how a frame becomes the network's input."""
    return {
        "size_px": recipe.image_size,
        "resize": {
            "squash": "the whole frame, bicubic and smoothed, aspect not kept (Pillow)",
            "tensor": "the whole frame, bicubic and not smoothed, aspect not kept (torch)",
            "crop": "the middle square, bicubic and smoothed (Pillow)",
        }[recipe.image_test],
        "image_test": recipe.image_test,
        "mean": IMAGE_MEAN,
        "std": IMAGE_STD,
        "input": "(B, 3, size_px, size_px): (RGB / 255 - mean) / std",
    }


def _audio(recipe: Recipe) -> dict[str, Any]:
    """Say how sound becomes the network's input."""
    front_end = FRONT_ENDS[recipe.spectrogram]
    density = {
        "segment": SEGMENT,
        "window": "Tukey, alpha 0.25, periodic; each segment minus its mean; no padding",
        "density": "one-sided power density, as scipy.signal.spectrogram by default",
        "log": f"natural, of density + {FLOOR:g}",
        "log_floor": FLOOR,
    }
    bands = {
        "segment": NUM_FFT,
        "window": "Hann, periodic; half a segment of zeros on both sides",
        "density": "magnitudes in mel bands, as librosa.filters.mel by default",
        "log": f"10 log10 of at least {LEAST:g}, at most {TOP_DB:g} below the window's largest",
        "log_floor": LEAST,
    }
    return {
        "kind": front_end.name,
        "rate_hz": front_end.rate_hz,
        "window_samples": front_end.window_samples,
        "hop": front_end.hop,
        "num_columns": front_end.num_columns,
        **(bands if front_end.mel else density),
        "pool": recipe.audio_pool,
        "mean": recipe.spectrogram_mean,
        "std": recipe.spectrogram_std,
        "input": f"(B, 1, {front_end.num_bins} // pool, num_columns // pool): averaged over pool x "
        "pool, then (log - mean) / std",
    }


def _network(model: AudioVisualModel) -> dict[str, Any]:
    """Describe every layer, in the order of execution."""
    parts = ("image_encoder", "audio_encoder", "image_heads", "audio_heads", "pooled_heads")
    return {
        "residual": "relu(bn2(conv2(relu(bn1(conv1(x))))) + downsample(x)); x itself without one",
        "inverted_residual": "its layers one after another, and x added to them where it adds",
        "audio_pooling": "maximum over both axes of the audio encoder's map, before the heads",
        "image_heads_are": "applied to the image encoder's map, one embedding each",
        "audio_heads_are": "applied to the pooled audio features, one embedding each",
        "pooled_heads_are": "of whole images (mean of the map) and of sounds; no part of the map",
        **{name: _layers(getattr(model, name), name) for name in parts},
    }


def _layers(module: nn.Module, name: str) -> list[dict[str, Any]]:
    """Describe a stack, or heads that lie side by side; cached features have no layers."""
    return [
        layer for key, child in module.named_children() for layer in _layer(child, f"{name}.{key}")
    ]


def _layer(module: nn.Module, name: str) -> Iterator[dict[str, Any]]:
    """Describe one layer; `name` is the beginning of its parameters' names."""
    if isinstance(module, Block):
        inner = {key: next(_layer(child, f"{name}.{key}")) for key, child in _parts_of(module)}
        shortcut = _layers(module.downsample, f"{name}.downsample") if module.downsample else []
        yield {"kind": "residual", "name": name, **inner, "downsample": shortcut}
    elif hasattr(module, "use_res_connect"):  # torchvision's block of a MobileNetV2
        inner_layers = _layers(module.get_submodule("conv"), f"{name}.conv")
        yield {"kind": "inverted_residual", "name": name, "layers": inner_layers,
               "adds": bool(module.use_res_connect)}  # fmt: skip
    elif isinstance(module, nn.Sequential):
        if name.rpartition(".")[0].endswith("_heads"):  # heads of several layers stay together
            yield {"kind": "sequence", "name": name, "layers": _layers(module, name)}
        else:
            yield from _layers(module, name)
    else:
        yield {"name": name, **_sizes(module)}


def _parts_of(block: Block) -> list[tuple[str, nn.Module]]:
    return [(key, child) for key, child in block.named_children() if key != "downsample"]


def _sizes(module: nn.Module) -> dict[str, Any]:
    """Return a plain layer's kind and sizes; kernels, strides and paddings are square."""
    if isinstance(module, nn.Conv2d):
        return {
            "kind": "conv",
            "in": module.in_channels,
            "out": module.out_channels,
            "kernel": module.kernel_size[0],
            "stride": module.stride[0],
            "padding": int(module.padding[0]),
            "bias": module.bias is not None,
            **({"groups": module.groups} if module.groups > 1 else {}),
        }
    if isinstance(module, nn.BatchNorm2d):
        return {"kind": "batch_norm", "features": module.num_features, "eps": module.eps}
    if isinstance(module, nn.Linear):
        return {"kind": "linear", "in": module.in_features, "out": module.out_features}
    if isinstance(module, nn.MaxPool2d | nn.AvgPool2d):
        kind = "max_pool" if isinstance(module, nn.MaxPool2d) else "avg_pool"
        sizes = {key: getattr(module, key) for key in ("stride", "padding")}
        return {"kind": kind, "kernel": module.kernel_size, **sizes}
    kinds = {"ReLU": "relu", "ReLU6": "relu6", "Identity": "identity"}
    return {"kind": kinds[type(module).__name__]}


def _map(model: AudioVisualModel, recipe: Recipe) -> dict[str, Any]:
    """Say how embeddings become a map, and where its cells lie."""
    return {
        "formula": "mean over heads of the cosine of a cell's and the sound's embedding",
        "centres_px": model.image_encoder.cell_centres(recipe.image_size).tolist(),
        "image_px": recipe.image_size,
        "upsampling": "linear between centres_px (pixel centres are whole numbers), constant "
        "beyond the outer ones; to another size by (centre + 0.5) * size / image_px - 0.5",
    }


def _provenance(record: RunRecord, step: int) -> dict[str, Any]:
    """Say where the weights come from; see `record.identity_of`."""
    return {
        "recipe_name": record.recipe_name,
        "seed": record.seed,
        "step": step,
        "weights_of": record.recipe.test_weights,
        "num_ids": len(record.ids),
        "ids_sha256": id_set_digest(record.ids),
        "data": record.data,
        "image_weights": record.image_weights,
        "audio_weights": record.audio_weights,
        "inputs": dict(record.inputs),
        "versions": record.versions,
        "imported": record.imported,
    }
