"""DETR (Carion et al. 2020) with a ResNet-50, through transformers: what its outputs share.

It is loaded from the hub's revision without timm, or from a local folder of that form, and sees the
whole frame at 224 px, where its maps have 7 x 7 cells.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from ....errors import MissingDependencyError, require_answer
from ....weights import WeightFile, Weights
from ..protocol import Cells, Network
from .arrays import as_arrays
from .images import PARAMS as PARAMS
from .images import normalized
from .images import squash as prepare

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["CELLS", "FILES", "PARAMS", "build_network", "prepare"]

CELLS: Cells = "corners"

_ORIGIN = "https://huggingface.co/facebook/detr-resnet-50/resolve/no_timm"
FILES = (
    WeightFile("detr-resnet-50/config.json", f"{_ORIGIN}/config.json"),
    WeightFile("detr-resnet-50/model.safetensors", f"{_ORIGIN}/model.safetensors"),
)
_ATTENTION = "eager"  # the faster kinds do not give their attention away


def build_network(
    output: Callable[[Any, Tensor], dict[str, Tensor]], weights: Weights, device: str
) -> Network:
    """Return `(B, 224, 224, 3)` uint8 -> the columns of one of DETR's outputs.

    Args:
        output: Of the `DetrForObjectDetection` and its input, `(B, 3, 224, 224)`.
        weights: Files or seed.
        device: Where it runs.

    Raises:
        MissingDependencyError: If the folder does not hold a DETR without timm.
    """
    import torch

    model = _load(weights.paths[0].parent) if weights.paths else _random(weights.seed or 0)
    model.to(device)

    @torch.inference_mode()
    def network(frames: NDArray[Any]) -> dict[str, NDArray[Any]]:
        return as_arrays(output(model, normalized(frames, device)))

    return network


def _transformers() -> Any:
    """Return the package, unchecked: its annotations refuse the arguments that it documents."""
    return import_module("transformers")


def _random(seed: int) -> Any:
    """Return DETR-R50 as published, with seeded weights."""
    import torch

    transformers = _transformers()
    config = transformers.DetrConfig(
        use_timm_backbone=False,
        use_pretrained_backbone=False,
        backbone=None,
        backbone_config=transformers.ResNetConfig(out_features=["stage4"]),
        num_labels=91,
        attn_implementation=_ATTENTION,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return transformers.DetrForObjectDetection(config).eval()


def _load(folder: Path) -> Any:
    """Load a DETR from a local folder; the network is never asked."""
    transformers = _transformers()
    try:
        with _quiet():
            config = transformers.DetrConfig.from_pretrained(folder, local_files_only=True)
            if "model_type" not in transformers.PretrainedConfig.get_config_dict(folder)[0]:
                raise MissingDependencyError(f"{folder / 'config.json'}: is not a DETR's; take the "
                                             f"one of {_ORIGIN}")  # fmt: skip
            if getattr(config.backbone_config, "model_type", None) != "resnet":
                raise MissingDependencyError(
                    f"{folder}: this DETR needs the package timm; take the revision no_timm from "
                    f"{_ORIGIN}"
                )
            model, report = transformers.DetrForObjectDetection.from_pretrained(
                folder,
                config=config,
                attn_implementation=_ATTENTION,
                local_files_only=True,
                use_safetensors=True,
                ignore_mismatched_sizes=True,  # so that the report names them
                output_loading_info=True,
            )
    except MissingDependencyError:
        raise
    except Exception as error:  # transformers has no common error for a damaged folder
        require_answer(error, folder)
        why = " ".join(str(error).split())[:160]
        raise MissingDependencyError(f"{folder}: cannot be read as a DETR ({why})") from error
    wrong = {
        "lacks": sorted(map(str, report["missing_keys"])),
        "has unknown": sorted(map(str, report["unexpected_keys"])),
        "has of another shape": sorted(str(name) for name in report["mismatched_keys"]),
        "has values that are not finite in": sorted(
            name for name, value in model.state_dict().items() if not value.isfinite().all()
        ),
    }
    if told := [f"{what} {', '.join(names[:3])}" for what, names in wrong.items() if names]:
        raise MissingDependencyError(
            f"{folder}: not the weights of DETR: {'; '.join(told)}; name another folder"
        )
    return model.eval()


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep transformers' own bars and tables of names off the terminal."""
    logging = _transformers().utils.logging
    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()
