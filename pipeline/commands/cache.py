"""Commands that fill the cache and look after it."""

from pathlib import Path
from typing import Annotated

import typer

from ...errors import CacheCorruptError, Reason, UsageError
from .. import output
from ..extract.settings import (
    Backend,
    Decoder,
    ExtractSettings,
    IdFrom,
    Spectrogram,
    failure_limit,
    parse_part,
    parse_reason,
    parse_roots,
)
from ..options import ALL_CORES, DEFAULT_CACHE, Cache, DryRun, Jobs, Json, Overwrite, checked
from ..settings import FILE_NAME, ONE_RUN, Example

MAX_SECONDS = 86_400.0


def synth(
    ctx: typer.Context,
    out: Annotated[Path, typer.Argument(metavar="OUT", help="The folder to fill.")],
    clips: Annotated[
        int, typer.Option("--clips", metavar="N", min=1, help="Training clips.")
    ] = 800,
    test: Annotated[
        int | None,
        typer.Option(
            "--test", metavar="N", min=1, show_default="30 % of --clips", help="Test clips."
        ),
        ONE_RUN,
    ] = None,
    classes: Annotated[
        int, typer.Option("--classes", metavar="C", min=2, help="Kinds of sounding object.")
    ] = 16,
    seed: Annotated[int, typer.Option("--seed", metavar="S", min=0, help="Which world.")] = 0,
    objects: Annotated[
        int, typer.Option("--objects", metavar="N", min=2, max=3, help="Objects per picture.")
    ] = 2,
    size: Annotated[
        tuple[float, float] | None,
        typer.Option(
            "--size",
            metavar="LOW HIGH",
            show_default="0.28 0.42; of photographs 0.30 0.42",
            help="An object's share of the side.",
        ),
        ONE_RUN,
    ] = None,
    photos: Annotated[
        Path | None,
        typer.Option(
            "--photos", metavar="DIR", help="Compose clips: a folder of pictures for each class."
        ),
        ONE_RUN,
    ] = None,
    sounds: Annotated[
        Path | None,
        typer.Option("--sounds", metavar="DIR", help="A folder of recordings for each class."),
        ONE_RUN,
    ] = None,
    backgrounds: Annotated[
        Path | None,
        typer.Option("--backgrounds", metavar="DIR", help="A folder of pictures to lay them on."),
        ONE_RUN,
    ] = None,
    held_out: Annotated[
        str | None,
        typer.Option(
            "--held-out",
            metavar="NAMES|N",
            show_default="one of six",
            help="With --photos: classes that are not trained on.",
        ),
        ONE_RUN,
    ] = None,
    splits: Annotated[
        Path | None,
        typer.Option(
            "--splits",
            metavar="FILE",
            show_default="drawn",
            help="With --photos: a CSV of path and split, train or test.",
        ),
        ONE_RUN,
    ] = None,
    noise: Annotated[
        tuple[float, float] | None,
        typer.Option(
            "--noise",
            metavar="LOW HIGH",
            show_default="12 30",
            help="With --photos: dB of noise below the sound.",
        ),
        ONE_RUN,
    ] = None,
    jobs: Jobs = ALL_CORES,
    json: Json = False,
) -> None:
    """Make labelled clips whose sounding object is known."""
    from ..watch import watch
    from ..worlds import Sources, compose, composed_text

    sources = Sources(photos, sounds, backgrounds, splits, held_out, noise)
    if sources.are_given():
        source = ctx.get_parameter_source("classes")
        if source is not None and source.name == "COMMANDLINE":
            raise UsageError("--classes does not go with --photos: its folders are the classes")
        made = compose(
            out, sources, clips=clips, seed=seed, num_objects=objects, size=size, num_test=test,
            jobs=jobs,
        )  # fmt: skip
        output.show(made, json, composed_text)
        return
    from ...stages.synth.run import SIZE, synth

    with watch("synth") as progress:
        drawn = synth(
            out, clips=clips, num_test=test, classes=classes, seed=seed, num_objects=objects,
            size=size or SIZE, jobs=jobs, progress=progress,
        )  # fmt: skip
    output.show(output.synth_json(drawn), json, output.fields_text)


def extract(
    inputs: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="INPUT",
            show_default="what the cache has planned already",
            readable=False,
            help="Folders, videos, lists, CSVs.",
        ),
        Example(["videos"]),
    ] = None,
    cache: Cache = DEFAULT_CACHE,
    jobs: Jobs = ALL_CORES,
    backend: Annotated[
        Backend, typer.Option("--backend", help="How the workers are run.")
    ] = "loky",
    part: Annotated[
        str | None,
        typer.Option("--part", metavar="I/N", help="Every N-th shard, from the I-th; I from 0."),
        ONE_RUN,
    ] = None,
    retry_failed: Annotated[
        str | None,
        typer.Option(
            "--retry-failed",
            metavar="[=REASON]",
            help="Try failed clips again: all, or those with one reason.",
        ),
        ONE_RUN,
    ] = None,
    segment: Annotated[
        float | None,
        typer.Option(
            "--segment",
            metavar="SECONDS",
            min=0.2,
            max=MAX_SECONDS,
            help="Cut videos into clips of so many seconds.",
        ),
        Example(10.0),
    ] = None,
    decoder: Annotated[Decoder, typer.Option("--decoder", help="What decodes the clips.")] = "pyav",
    spectrogram: Annotated[
        Spectrogram, typer.Option("--spectrogram", help="Which kind is stored.")
    ] = "257x276",
    audio_seconds: Annotated[
        float,
        typer.Option(
            "--audio-seconds",
            metavar="SECONDS",
            min=3,
            max=600,
            help="Seconds of sound kept around the frame.",
        ),
    ] = 10.0,
    timeout: Annotated[
        float,
        typer.Option(
            "--timeout",
            metavar="SECONDS",
            min=1,
            max=MAX_SECONDS,
            help="Seconds a clip may take.",
        ),
    ] = 60.0,
    shard_clips: Annotated[
        int | None,
        typer.Option(
            "--shard-clips",
            metavar="N",
            min=1,
            show_default="16 to 256, by the number of clips",
            help="Clips per shard of new clips.",
        ),
        Example(256),
    ] = None,
    id_from: Annotated[
        IdFrom,
        typer.Option("--id-from", help="A clip's id: its file's stem, or its whole path."),
    ] = "stem",
    root: Annotated[
        list[Path] | None,
        typer.Option(
            "--root",
            metavar="DIR",
            callback=checked(lambda paths: parse_roots([str(path) for path in paths])),
            help="Where a list's paths start; N=DIR: where root N of the cache is mounted now.",
        ),
        Example(["0=/data/videos"]),
    ] = None,
    max_failures: Annotated[
        str,
        typer.Option(
            "--max-failures",
            metavar="N|P%",
            # a typing error is told before hours of work, not after
            callback=checked(lambda text: failure_limit(text, tried=0)),
            help="Stop with exit code 3 above this.",
        ),
    ] = "100%",
    overwrite: Overwrite = False,
    dry_run: DryRun = False,
    json: Json = False,
) -> None:
    """Decode every clip once into the cache; run it again to resume."""
    from ...cache.schema import MANIFEST

    if not inputs and not (cache / MANIFEST).is_dir():
        raise UsageError(f"nothing to extract: name an INPUT, or set inputs in {FILE_NAME}")
    for path in inputs or []:
        if retry_failed == "" and str(path) in set(Reason) and not path.exists():
            raise UsageError(f"{path} is no input: to retry a reason, write --retry-failed={path}")
    list_root, root_map = parse_roots([str(path) for path in root or []])
    settings = ExtractSettings(
        inputs=tuple(str(path) for path in inputs or []),
        cache=cache,
        jobs=jobs,
        backend=backend,
        part=parse_part(part) if part else None,
        retry_failed=parse_reason(retry_failed),
        segment_s=segment,
        decoder=decoder,
        spectrogram=spectrogram,
        audio_seconds=audio_seconds,
        timeout_s=timeout,
        shard_clips=shard_clips,
        id_from=id_from,
        root=list_root,
        root_map=root_map,
        overwrite=overwrite,
        max_failures=max_failures,
        dry_run=dry_run,
    )
    from ..extract.run import extract

    done = extract(settings)
    text = output.extract_estimate_text if dry_run else output.run_text
    output.show(done.as_json(), json, text)
    done.raise_for_failures()


def status(
    cache: Cache = DEFAULT_CACHE,
    ids: Annotated[
        Path | None,
        typer.Option("--ids", metavar="LIST", help="Count the clips of this list too."),
        ONE_RUN,
    ] = None,
    json: Json = False,
) -> None:
    """Show what is done, what failed and why, and what is stale."""
    from ..status import status
    from ..status_text import status_text

    output.show(status(cache, ids), json, status_text)


def verify(
    cache: Cache = DEFAULT_CACHE,
    repair: Annotated[
        bool,
        typer.Option("--repair", help="Move damaged files to damaged/, restore the manifest."),
        ONE_RUN,
    ] = False,
    json: Json = False,
) -> None:
    """Read every byte of the cache and name each damaged file."""
    from ...cache.verify import verify
    from ..remake import verify_document
    from ..status_text import verify_text

    found = verify(cache, repair=repair)
    output.show(verify_document(cache, found, repair=repair), json, verify_text)
    if not found.ok:
        mend = "what is lost stays lost" if repair else f"`avpipe verify --repair --cache {cache}`"
        number = len(found.damaged)
        files = "file" if number == 1 else "files"
        raise CacheCorruptError(f"{cache}: {number} damaged {files}; {mend}")


def drop(
    stage: Annotated[str, typer.Argument(metavar="STAGE", help="As `avpipe status` names it.")],
    cache: Cache = DEFAULT_CACHE,
) -> None:
    """Delete a stage's shards: `audio`, `hints/detr-r50`, ..."""
    from ...cache.state import drop_stage

    freed = drop_stage(cache, stage)
    output.say(f"dropped {stage} from {cache}: {output.size_text(freed)} freed")
