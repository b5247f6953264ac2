"""`avpipe extract`: every clip is decoded once into the cache."""

from pathlib import Path
from typing import Annotated

import typer

from ...advice import advice
from ...cache.defaults import AUDIO_SECONDS, DECODER, FRAME, SPECTROGRAM
from ...errors import Reason, UsageError
from ...stages.workers import BACKEND, TIMEOUT_S
from .. import output
from ..extract.settings import (
    ID_FROM,
    Decoder,
    ExtractSettings,
    IdFrom,
    KeptFrame,
    Spectrogram,
    failure_limit,
    parse_reason,
    parse_roots,
)
from ..options import (
    ALL_CORES,
    DEFAULT_CACHE,
    IF_TAKEN,
    Backend,
    Cache,
    DryRun,
    Jobs,
    Json,
    Overwrite,
    PartOption,
    Scheduler,
    checked,
    inputs_argument,
    parse_part,
)
from ..output import Document, fields_text
from ..settings import FILE_NAME, ONE_RUN, PLACES, Example, With

MAX_SECONDS = 86_400.0
_ESTIMATE_WORDS = {
    "new": "new clips",
    "pending": "clips planned before",
    "bytes_in": "to read",
    "bytes_out": "to write",
    "seconds": "time",
    "sampled": "clips tried for that",
    "sample_failed": "of them failed",
}


def extract(
    inputs: Annotated[
        list[str] | None,
        inputs_argument("Folders, videos, lists, CSVs, tars; paths or addresses."),
        PLACES,
        Example(["videos"]),
    ] = None,
    cache: Cache = DEFAULT_CACHE,
    jobs: Annotated[Jobs, IF_TAKEN] = ALL_CORES,
    backend: Backend = BACKEND,
    scheduler: Scheduler = None,
    part: PartOption = None,
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
        With("inputs"),
        Example(10.0),
    ] = None,
    decoder: Annotated[
        Decoder, typer.Option("--decoder", help="What decodes the clips.")
    ] = DECODER,
    spectrogram: Annotated[
        Spectrogram, typer.Option("--spectrogram", help="Which kind is stored.")
    ] = SPECTROGRAM,
    frame: Annotated[
        KeptFrame,
        typer.Option(
            "--frame",
            help="The frame in a clip's middle, or the key frame nearest to it: faster, up to "
            "some seconds off.",
        ),
    ] = FRAME,
    audio_seconds: Annotated[
        float,
        typer.Option(
            "--audio-seconds",
            metavar="SECONDS",
            min=3,
            max=600,
            help="Seconds of sound kept around the frame.",
        ),
    ] = AUDIO_SECONDS,
    timeout: Annotated[
        float,
        typer.Option(
            "--timeout",
            metavar="SECONDS",
            min=1,
            max=MAX_SECONDS,
            help="Seconds a clip may take.",
        ),
    ] = TIMEOUT_S,
    shard_clips: Annotated[
        int | None,
        typer.Option(
            "--shard-clips",
            metavar="N",
            min=1,
            show_default="16 to 256, by the number of clips",
            help="Clips per shard of new clips.",
        ),
        With("inputs"),
        Example(256),
    ] = None,
    id_from: Annotated[
        IdFrom,
        typer.Option("--id-from", help="A clip's id: its file's stem, or its whole path."),
        With("inputs"),
    ] = ID_FROM,
    root: Annotated[
        list[str] | None,
        typer.Option(
            "--root",
            metavar="DIR",
            callback=checked(parse_roots),
            help="Where a list's paths start, a folder or an address; N=DIR: where root N of the "
            "cache is now.",
        ),
        PLACES,
        With("inputs", when=lambda texts: parse_roots(texts)[0] is not None),
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
    for name in inputs or []:
        if retry_failed == "" and name in set(Reason) and not Path(name).exists():
            raise UsageError(f"{name} is no input: to retry a reason, write --retry-failed={name}")
    list_root, root_map = parse_roots(root or [])
    settings = ExtractSettings(
        inputs=tuple(inputs or []),
        cache=cache,
        jobs=jobs,
        backend=backend,
        part=parse_part(part) if part else None,
        retry_failed=parse_reason(retry_failed),
        segment_s=segment,
        decoder=decoder,
        spectrogram=spectrogram,
        frame=frame,
        audio_seconds=audio_seconds,
        timeout_s=timeout,
        shard_clips=shard_clips,
        id_from=id_from,
        root=list_root,
        root_map=root_map,
        overwrite=overwrite,
        max_failures=max_failures,
        dry_run=dry_run,
        scheduler=scheduler,
    )
    from ..extract.run import extract

    done = extract(settings)

    def text(document: Document) -> str:
        said = output.run_text(document)
        if document["failed"]:
            said += f"\n\neach failed clip, and why: {advice('inspect --failures', cache)}"
        return said

    output.show(done.as_json(), json, estimate_text if dry_run else text)
    done.raise_for_failures()


def estimate_text(document: Document) -> str:
    """Render `avpipe extract --dry-run`."""
    return fields_text(document, _ESTIMATE_WORDS)
