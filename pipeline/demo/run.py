"""`avpipe demo`: from nothing to localized sounds in a folder, by the commands of every day."""

from __future__ import annotations

import contextlib
import io
import json
import shlex
import shutil
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import typer

from ...advice import quoted
from ...drafts import remove_orphans, write_whole
from ...errors import UsageError
from ...train.choices import DEFAULT_RECIPE
from ...weights import RANDOM
from ..output import say
from ..settings import FILE_NAME
from . import Extent
from .pace import measure_pace
from .stages import Document, Stage, stages_of

NUM_PICTURES = 12
BATCH = 32
"""Of the default recipe."""

SETTINGS = """\
# Settings of this demo: in this folder `avpipe extract`, `avpipe train`, ... need no arguments.
inputs = ["synth/videos"]
cache = "avcache"
weights = ["{weights}"]{note}
ids = "synth/train.txt"
annotations = "synth"
run = "run"

[embed-teachers]
visual = "{visual}"
audio = "{audio}"

[knn]  # compares by the hints that are there already
k = {k}
image = "{visual}"
audio = "{audio}"

[train]
recipe = "{recipe}"
seeds = "{seed}"
set = ["epochs={epochs}"]
"""


def demo(
    out: Path,
    *,
    seed: int,
    extent: Extent,
    epochs: int | None = None,
    threads: str,
    weights: str = RANDOM,
) -> None:
    """Make a world, and learn in it to localize sounds; the same call goes on where one stopped.

    Args:
        out: Folder to fill.
        seed: Of the world and of the training.
        extent: How far to go.
        epochs: Of training; None for as many as make its steps.
        threads: What the commands that run networks get as `--threads`.
        weights: What the teachers know, `random` or `pretrained`.

    Raises:
        UsageError: `out` holds something else.
        typer.Exit: A command was interrupted.
    """
    steps_per_epoch = max(1, extent.clips // BATCH)
    epochs = epochs or max(1, round(extent.steps / steps_per_epoch))
    settings = SETTINGS.format(
        seed=seed, epochs=epochs, k=_num_neighbors(extent), recipe=DEFAULT_RECIPE,
        visual=extent.visual, audio=extent.audio, weights=weights,
        note="  # these teachers know nothing: they show the way" if weights == RANDOM else "",
    )  # fmt: skip
    begun = _write_settings(out, settings)
    known = "RANDOM weights, which know nothing" if weights == RANDOM else f"{weights} weights"
    steps = epochs * steps_per_epoch
    stages = stages_of(out, extent, seed=seed, steps=steps, threads=threads, known=known)
    about = _about(stages, out, begun, threads)
    say("Stop it at any time: the same command goes on.")
    started = time.monotonic()
    documents: dict[str, Document] = {}
    for number, stage in enumerate(stages, 1):
        say(f"\n[{number}/{len(stages)}] {stage.does}{about[number - 1]}")
        say(f"    $ {shlex.join(['avpipe', *stage.words])}")
        began = time.monotonic()
        document = documents[stage.words[0]] = _run(out, stage.words, extent)
        say(f"    {stage.tell(document)}, {time.monotonic() - began:.0f} s")
        if stage.words[0] == "localize":
            _show_maps(out, documents["evaluate"], time.monotonic() - started)
    say(f"\n{(time.monotonic() - started) / 60:.1f} min. Pictures: {out}/hero.png, {out}/pictures")
    say(f"Go on: cd {quoted(out)} && {program_name()} status")


def program_name() -> str:
    """Return what the shell finds this program by; `make demo` runs it without its name."""
    beside = Path(sys.executable).with_name("avpipe")
    found = shutil.which("avpipe")
    is_found = beside.exists() and found is not None and beside.samefile(found)
    return "avpipe" if is_found or not beside.exists() else quoted(beside)


def _num_neighbors(extent: Extent) -> int:
    """Return how many neighbours are searched: a twentieth of the clips, at least five."""
    searched = min(extent.taught or extent.clips, extent.clips)
    return max(1, min(searched - 1, max(5, searched // 20)))


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


def _write_settings(out: Path, text: str) -> bool:
    """Write the settings; return whether they were there."""
    path = out / FILE_NAME
    if out.is_file():
        raise UsageError(f"{out} is a file: name a folder")
    remove_orphans(out)
    if out.is_dir() and not path.exists() and any(out.iterdir()):
        raise UsageError(f"{out} is not empty, and holds no demo: name another folder")
    if path.is_dir() or (path.exists() and path.read_bytes() != text.encode()):
        raise UsageError(f"{path} is of another demo (its options differ): name another folder")
    begun = path.exists()
    if not begun:
        write_whole(path, text.encode())
    return begun


def _run(out: Path, words: tuple[str, ...], extent: Extent) -> Document:
    """Run a command with the demo's settings and return its result."""
    from ..cli import app
    from ..main import State

    if words[0] == "localize":
        _write_shown(out)
    if words[0] == "embed-teachers" and extent.taught is not None:
        first = (out / "synth/train.txt").read_text().splitlines(keepends=True)[: extent.taught]
        write_whole(out / "teachers.txt", "".join(first).encode())
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
    write_whole(out / "pictures.txt", "".join(f"{name}\n" for name in shown).encode())


def _show_maps(out: Path, scores: Document, seconds: float) -> None:
    """Print the scores beside the controls, and where the pictures are."""
    from ...cache.store import Cache
    from ...train.runs.localizer import load_run
    from ...train.score.table import evaluate_text
    from ...train.show.hero import hero_picture

    remove_orphans(out)
    hero_picture(load_run(out / "run"), Cache(out / "avcache"), out / "synth", out / "hero.png")
    say(f"\n{evaluate_text(scores)}\n")
    say(f"{seconds / 60:.1f} min to these maps. Look: {out}/hero.png, {out}/pictures/sheet.png")
