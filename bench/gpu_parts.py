"""What the parts of `gpu.py` share: sizes, the device, rows of its table, how a part is run."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch


@dataclass(frozen=True)
class Sizes:
    """How much each part does; the defaults are for a GPU, `TOY` for a CPU.

    Attributes:
        copies: How often each clip is extracted, under names of its own.
        teachers: Visual and audio ones.
        num_rows: Clips of the training cache.
        recipes: What is trained.
        plain: Which of them beside the plain implementations.
        changes: Settings of all recipes.
        batch: Clips in a batch where losses are compared; None for the recipe's own elsewhere.
        steps: Timed steps of training.
        loss_steps: Steps over which two precisions are compared.
        resumed_epochs: Of the run that is stopped and resumed.
        knn: Clips, width, neighbours, and clips asked for (None: all) of each search.
        compared: Clips whose neighbours the CPU finds too.
    """

    copies: int = 40
    teachers: tuple[str, ...] = ("detr-r50", "panns-wavegram", "efficientat-mn04")
    num_rows: int = 512
    recipes: tuple[str, ...] = ("slavc", "multi-positive", "distill", "best")
    plain: tuple[str, ...] = ("slavc", "multi-positive")
    changes: tuple[str, ...] = ()
    batch: int = 64
    steps: int = 40
    loss_steps: int = 200
    resumed_epochs: int = 8
    knn: tuple[tuple[int, int, int, int | None], ...] = (
        (144_000, 512, 1000, None),
        (1_000_000, 512, 1000, 16_384),
    )
    compared: int = 2048


TOY = Sizes(
    copies=1,
    teachers=("efficientat-mn04",),
    num_rows=12,
    recipes=("slavc", "best"),
    plain=("slavc",),
    changes=(
        "image_init=scratch",
        "width=16",
        "image_size=32",
        "image_resize=32",
        "crop_pad=0",
        "batch_size=2",
    ),
    batch=2,
    steps=1,
    loss_steps=2,
    resumed_epochs=2,
    knn=((600, 16, 9, None), (800, 16, 9, 256)),
    compared=64,
)
"""Of `--dry`: every line runs, nothing that it measures means anything."""


@dataclass(frozen=True)
class Where:
    """The device measured on, the sizes, and a folder for files.

    Attributes:
        device: `cuda`, or `cpu` of a dry run.
        sizes: How much is done.
        folder: Empty at first.
        clips: The clips that are extracted.
    """

    device: torch.device
    sizes: Sizes
    folder: Path
    clips: Sequence[Path]

    @property
    def is_gpu(self) -> bool:
        """Whether anything is measured."""
        return self.device.type == "cuda"

    def wait(self) -> None:
        """Let the device finish what it was given."""
        if self.is_gpu:
            torch.cuda.synchronize(self.device)

    def forget_memory(self) -> None:
        """Free what nobody holds, and begin to look for the peak."""
        if self.is_gpu:
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats(self.device)

    def peak_gib(self) -> float:
        """Peak of the device's memory since then."""
        return torch.cuda.max_memory_allocated(self.device) / 2**30 if self.is_gpu else 0.0


@dataclass(frozen=True)
class TableRow:
    """One line of the table.

    Attributes:
        what: What was measured or checked.
        found: The figure, in words.
        wanted: What it should be; empty if nothing in particular.
        ok: Whether it is; None where nothing is wanted.
    """

    what: str
    found: str
    wanted: str = ""
    ok: bool | None = None


@dataclass
class Part:
    """What one part of the bench found.

    Attributes:
        name: Its name.
        state: `done`, `failed` or `not run`.
        seconds: How long it took.
        rows: Its lines of the table.
        figures: The numbers behind them.
        problem: Why it failed, the last line of it.
        traceback: All of it.
    """

    name: str
    state: str = "not run"
    seconds: float = 0.0
    rows: list[TableRow] = field(default_factory=list)
    figures: dict[str, Any] = field(default_factory=dict)
    problem: str = ""
    traceback: str = ""

    def add(self, what: str, found: str, wanted: str = "", ok: bool | None = None) -> None:
        """Add a line to the table."""
        self.rows.append(TableRow(what, found, wanted, ok))

    def as_json(self) -> dict[str, Any]:
        """Return it as a JSON object."""
        return asdict(self)


def run_part(name: str, work: Callable[[Where, Part], None], where: Where) -> Part:
    """Run a part; an error ends it and not the bench, and what it found before stays."""
    part, began = Part(name), time.perf_counter()
    try:
        work(where, part)
        where.wait()
        part.state = "done"
    except Exception as error:  # recorded: the parts behind it still run
        part.state = "failed"
        part.problem = f"{type(error).__name__}: {str(error).strip() or 'no message'}"
        part.traceback = traceback.format_exc()
        part.add(name, part.problem.splitlines()[0], "no error", ok=False)
    part.seconds = time.perf_counter() - began
    where.forget_memory()
    return part
