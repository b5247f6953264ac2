"""What `verify` says of a cache, and the lines that make what `--repair` moved away again."""

from __future__ import annotations

import shlex
from pathlib import Path

from ...cache.defaults import AUDIO_SECONDS, DECODER, FRAME, MIN_RECALL, SPECTROGRAM
from ...cache.repair import Lost, Spoilt
from ...cache.schema import (
    AUDIO,
    CLUSTERS,
    EMBEDDINGS,
    EXTRACT,
    NEIGHBORS,
    OBJECTS,
    Header,
    encoder_option,
)
from ...cache.verify import VerifyReport
from ...printable import printable
from ..fixes import ending
from ..output import Document
from .document import document

_EXTRACT_FLAGS = {
    "spectrogram": ("--spectrogram", SPECTROGRAM),
    "audio_seconds": ("--audio-seconds", AUDIO_SECONDS),
    "decoder": ("--decoder", DECODER),
    "frame": ("--frame", FRAME),
}
"""Parameters that the command line can give, and its defaults."""

_ENCODER = "-encoder"
"""Ends the name of a hint that is the output of a network's encoder."""


def verify_document(cache: Path, report: VerifyReport, *, repair: bool) -> Document:
    """Return the `--json` form of what `verify` found.

    Args:
        cache: The cache's folder.
        report: What was found.
        repair: Whether it was repaired: then the lines say what was wrong, not what to run.
    """
    faults = {} if repair else report.faults
    return document(
        files=report.files,
        size=report.bytes,
        damaged={name: what + ending(faults.get(name)) for name, what in report.damaged.items()},
        commands=commands(cache, report),
        lost=[_lost(one) for one in report.lost],
        repaired=report.repaired,
        is_sound=report.ok,
    )


def commands(cache: Path, report: VerifyReport) -> list[str]:
    """Return the commands that make again what `verify` moved away, each once."""
    return list(dict.fromkeys(_command_for(cache, spoilt) for spoilt in report.spoilt))


def _lost(lost: Lost) -> str:
    if lost.moved_root is None:
        return lost.what
    moved = f"if its clips have moved, add --root {lost.moved_root}=DIR to the command"
    return f"{lost.what} ({moved})"


def _command_for(cache: Path, spoilt: Spoilt) -> str:
    """Return what makes a stage again."""
    kind, _, name = spoilt.stage.partition("/")
    header = spoilt.header
    if kind == EXTRACT:
        return _extract_command(cache, header)
    if kind == NEIGHBORS:
        return _knn_command(cache, spoilt)
    if kind == CLUSTERS:
        return _cluster_command(cache, spoilt)
    hears = header is not None and AUDIO in header.inputs
    if kind == EMBEDDINGS:  # what was made of them is there, and is skipped
        made = [_command_for(cache, other) for other in spoilt.made_of_it]
        by = ["--image", encoder_option(name), "--audio", "none"]
        if hears:
            by = ["--audio", encoder_option(name), "--image", "none"]
        return min([*made, _command(cache, ["knn", *by], header)], key=lambda line: "--ids" in line)
    if kind == OBJECTS:
        words = ["--visual", "none", "--audio", "none", "--objects"]
    elif hears:
        words = ["--visual", "none", "--audio", name]
    else:
        words = ["--visual", name.removesuffix(_ENCODER), "--audio", "none"]
        words += ["--visual-hint", "encoder"] if name.endswith(_ENCODER) else []
    return _command(cache, ["embed-teachers", *words], header)


def _extract_command(cache: Path, header: Header | None) -> str:
    params = header.params if header else {}
    words = ["avpipe", "extract", "--cache", str(cache)]
    for name, (flag, default) in _EXTRACT_FLAGS.items():
        if params.get(name, default) != default:
            words += [flag, str(params[name])]
    return shlex.join(words)


def _knn_command(cache: Path, spoilt: Spoilt) -> str:
    """Return what searches neighbours again."""
    modality, _, encoder = spoilt.stage.partition("/")[2].partition("@")[0].partition("-")
    words = ["knn", f"--{modality}", encoder_option(encoder)]
    words += ["--audio" if modality == "image" else "--image", "none"]
    params = spoilt.header.params if spoilt.header else {}
    words += ["--k", str(params["k"])] if params else []
    if "approximate" in params:
        words += ["--approximate", "--probes", str(params["probes"])]
        words += ["--min-recall", str(params["recall"])] if params["recall"] < MIN_RECALL else []
    return _command(cache, words, spoilt.header) + _id_list(spoilt)


def _cluster_command(cache: Path, spoilt: Spoilt) -> str:
    """Return what makes a stage of clusters again; folder and header tell how it was made."""
    encoder, _, k = spoilt.stage.partition("/")[2].partition("@")[0].rpartition("-k")
    words = ["cluster", "--k", k, "--encoder", encoder_option(encoder)]
    if spoilt.header and spoilt.header.params["seed"]:
        words += ["--seed", str(spoilt.header.params["seed"])]
    if spoilt.header and "sample" in spoilt.header.params:
        words += ["--sample", str(spoilt.header.params["sample"])]
    return _command(cache, words, spoilt.header) + _id_list(spoilt)


def _command(cache: Path, words: list[str], header: Header | None) -> str:
    if header and (header.weights or "").startswith("random"):
        words = [*words, "--weights", "random"]
    return shlex.join(["avpipe", *words, "--cache", str(cache)])


def _id_list(spoilt: Spoilt) -> str:
    """Ask for the ids of a set that is not all clips: a cache knows only its digest."""
    if spoilt.of_all:
        return ""
    return f" --ids LIST  # LIST: the ids that {printable(spoilt.stage)} was made of"
