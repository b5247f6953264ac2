"""`avpipe demo`: from nothing to localized sounds in a folder, by the commands of every day."""

from __future__ import annotations

import contextlib
import io
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import typer

from ...cache.defaults import VISUAL_TEACHER
from ...errors import UsageError
from ...machine import AUTO
from ...stages.synth.scenes import TEST_SHARE
from ...train.choices import DEFAULT_RECIPE
from ..output import say
from ..settings import FILE_NAME
from . import NUM_CLIPS
from .pace import MachinePace, measure_pace

NUM_PICTURES = 12
NUM_STEPS = 550
"""Enough for the default recipe at its batch of 32."""

SETTINGS = """\
# Settings of this demo: in this folder `avpipe extract`, `avpipe train`, ... need no arguments.
inputs = ["synth/videos"]
cache = "avcache"
weights = ["random"]  # these teachers know nothing: they show the way, they teach nothing
ids = "synth/train.txt"
annotations = "synth"
run = "run"

[embed-teachers]
audio = "panns-cnn14"

[knn]  # compares by the hints that are there already
k = {k}
image = "{visual}"
audio = "panns-cnn14"

[train]
recipe = "{recipe}"
seeds = "{seed}"
set = ["epochs={epochs}"]
"""

_EVALUATE_STEPS, _LOCALIZE_STEPS, _KNN_STEPS = 100, 50, 50
"""What short stages take, in steps of training."""

Document = dict[str, Any]


@dataclass(frozen=True)
class Stage:
    """One command of the demo.

    Attributes:
        words: The command.
        does: What it does, in a line.
        about_s: How long it takes on a machine of that pace.
        tell: What came of it, from its `--json`.
    """

    words: tuple[str, ...]
    does: str
    about_s: Callable[[MachinePace], float]
    tell: Callable[[Document], str]


def demo(
    out: Path,
    *,
    seed: int,
    clips: int,
    epochs: int | None = None,
    threads: str,
) -> None:
    """Make a world, and learn in it to localize sounds; the same call goes on where one stopped.

    Args:
        out: Folder to fill.
        seed: Of the world and of the training.
        clips: Training clips.
        epochs: Of training; None for as many as make `NUM_STEPS` steps.
        threads: What the commands that run networks get as `--threads`.

    Raises:
        UsageError: `out` holds something else.
        typer.Exit: A command was interrupted.
    """
    steps_per_epoch = max(1, clips // 32)
    epochs = epochs or max(1, round(NUM_STEPS / steps_per_epoch))
    settings = SETTINGS.format(
        seed=seed, epochs=epochs, k=max(1, clips // 20), recipe=DEFAULT_RECIPE,
        visual=VISUAL_TEACHER,
    )  # fmt: skip
    begun = _write_settings(out, settings)
    stages = _stages(out, seed, clips, epochs * steps_per_epoch, threads)
    about = _about(stages, out, begun, threads)
    say("Stop it at any time: the same command goes on.")
    started = time.monotonic()
    documents: dict[str, Document] = {}
    for number, stage in enumerate(stages, 1):
        say(f"\n[{number}/{len(stages)}] {stage.does}{about[number - 1]}")
        say(f"    $ avpipe {' '.join(stage.words)}")
        began = time.monotonic()
        document = documents[stage.words[0]] = _run(out, stage.words)
        say(f"    {stage.tell(document)}, {time.monotonic() - began:.0f} s")
        if stage.words[0] == "localize":
            _show_maps(out, documents["evaluate"], time.monotonic() - started)
    say(f"\n{(time.monotonic() - started) / 60:.1f} min. Pictures: {out}/hero.png, {out}/pictures")
    say(f"Go on: cd {out} && avpipe status")


def _about(stages: list[Stage], out: Path, begun: bool, threads: str) -> list[str]:
    """Say how long all takes here; return what to say of each stage, nothing where one goes on."""
    if begun:
        say(f"{len(stages)} stages in {out}; what is there already is passed over.")
        return [""] * len(stages)
    say(f"{len(stages)} stages in {out}. How long on this machine: a few seconds to find out ...")
    pace = measure_pace(DEFAULT_RECIPE, threads)
    seconds = [stage.about_s(pace) for stage in stages]
    say(f"About {sum(seconds) / 60:.1f} min on {pace.cores} cores.")
    if pace.busy:
        say(pace.busy)
    return [f" (about {one:.0f} s)" for one in seconds]


def _stages(out: Path, seed: int, clips: int, steps: int, threads: str) -> list[Stage]:
    synth = ("synth", f"{out}/synth", "--clips", str(clips), "--seed", str(seed))
    localize = ("localize", "--ids", f"{out}/pictures.txt", "--out", f"{out}/pictures")
    told = () if threads == AUTO else ("--threads", threads)
    videos = clips * (1 + TEST_SHARE)
    share = clips / NUM_CLIPS
    return [
        Stage(
            synth,
            f"make short videos, {clips} to learn from and 30 % more to test: one object sounds",
            lambda pace: videos * pace.make_s / pace.free,
            lambda made: f"{made['num_made']} videos made, {made['num_kept']} were there",
        ),
        Stage(
            ("extract",),
            "decode every video once into the cache",
            lambda pace: videos * pace.decode_s / pace.free,
            _counts,
        ),
        Stage(
            ("train", *told),
            "learn to localize from pairs of frame and sound, without labels or teachers",
            lambda pace: steps * pace.step_s,
            lambda done: f"{done['runs'][0]['num_steps']} steps",
        ),
        Stage(
            ("evaluate", f"{out}/run", *told),
            "score the maps of test videos against the boxes of what sounds",
            lambda pace: share * _EVALUATE_STEPS * pace.step_s,
            lambda done: f"{done['runs'][0]['n_scored']} maps scored",
        ),
        Stage(
            (*localize, *told),
            "draw the maps of the first test videos",
            lambda pace: _LOCALIZE_STEPS * pace.step_s,
            lambda drawn: f"{len(drawn['pictures'])} pictures",
        ),
        Stage(
            ("embed-teachers", *told),
            "for other recipes: what two teachers see and hear; RANDOM weights, which know nothing",
            lambda pace: videos * pace.teach_s,
            _counts,
        ),
        Stage(
            ("knn", *told),
            "for other recipes: every clip's nearest others by sight and by sound",
            lambda pace: share * _KNN_STEPS * pace.step_s,
            _counts,
        ),
    ]


def _counts(document: Document) -> str:
    return f"{document['done']} done, {document['skipped']} were there"


def _write_settings(out: Path, text: str) -> bool:
    """Write the settings; return whether they were there."""
    path = out / FILE_NAME
    if out.is_file():
        raise UsageError(f"{out} is a file: name a folder")
    if out.is_dir() and not path.exists() and any(out.iterdir()):
        raise UsageError(f"{out} is not empty, and holds no demo: name another folder")
    if path.is_dir() or (path.exists() and path.read_bytes() != text.encode()):
        raise UsageError(f"{path} is of another demo (seed or clips differ): name another folder")
    begun = path.exists()
    out.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return begun


def _run(out: Path, words: tuple[str, ...]) -> Document:
    """Run a command with the demo's settings and return its result."""
    from ..cli import app
    from ..main import State

    if words[0] == "localize":
        _write_shown(out)
    command = typer.main.get_command(app)
    settings = ["--config", str(out / FILE_NAME)]
    cache = [] if words[0] == "synth" else ["--cache", str(out / "avcache")]
    with _captured() as printed:
        code = command.main(
            [*settings, *words, *cache, "--json"],
            prog_name="avpipe",
            standalone_mode=False,
            obj=State(wants_help=False),
        )
    if code:
        raise typer.Exit(code)
    document: Document = json.loads(printed.getvalue())
    return document


@contextlib.contextmanager
def _captured() -> Iterator[io.StringIO]:
    """Catch the result on stdout; progress and notices on stderr are for the user."""
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        yield printed


def _write_shown(out: Path) -> None:
    """List the first test clips of classes that were trained on: none is chosen by its map."""
    from ...train.truths.world_lists import read_world

    shown = [item.pair.video for item in read_world(out / "synth").items
             if item.group == "positive" and not item.unheard][:NUM_PICTURES]  # fmt: skip
    (out / "pictures.txt").write_text("".join(f"{name}\n" for name in shown))


def _show_maps(out: Path, scores: Document, seconds: float) -> None:
    """Print the scores beside the controls, and where the pictures are."""
    from ...cache.store import Cache
    from ...cache.writer import remove_orphans
    from ...train.runs.localizer import load_run
    from ...train.score.table import evaluate_text
    from ...train.show.hero import hero_picture

    remove_orphans(out)
    hero_picture(load_run(out / "run"), Cache(out / "avcache"), out / "synth", out / "hero.png")
    say(f"\n{evaluate_text(scores)}\n")
    say(f"{seconds / 60:.1f} min to these maps. Look: {out}/hero.png, {out}/pictures/sheet.png")
