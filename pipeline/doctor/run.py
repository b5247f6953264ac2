"""`avpipe doctor`: what this machine has for avpipe, what it lacks, and what mends that."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from ...errors import AvpipeError, MissingDependencyError
from ..fixes import shown
from ..output import Document
from .finding import Check, ok, problem, warning
from .folder import check_folder, check_space
from .machine import check_cores, check_memory
from .packages import broken_among, check_packages

_WIDTH = 80
_NAME_WIDTH = 12
_NEEDED = ("av", "h5py", "numpy", "pillow", "soxr")
"""Packages that other checks work with."""


def doctor(
    cache: Path,
    *,
    jobs: int,
    inputs: Sequence[str],
    settings_file: Path | None,
    settings_error: str,
    tell: Callable[[Check], None] | None = None,
) -> Document:
    """Look at everything; return the `avpipe.doctor/1` document.

    Nothing is fetched or left behind. A check that breaks is a problem that is told, and stops no
    other: packages are imported in a process of their own, which one of them may crash. That takes
    the longest, so the rest is looked at meanwhile.

    Args:
        cache: Folder, which need not be there yet.
        jobs: Worker processes that will run.
        inputs: What `extract` would be given; it says how much is still to do.
        settings_file: If there is one.
        settings_error: What is wrong with the settings; empty if nothing is.
        tell: Called with each check as it is done.
    """
    checks: list[Check] = []

    def add(found: Sequence[Check]) -> None:
        for check in found:
            checks.append(check)
            if tell:
                tell(check)

    with ThreadPoolExecutor(1) as pool:
        packages = pool.submit(_guarded, "packages", check_packages)
        add([_check_settings(settings_file, settings_error)])
        options = _options(cache, jobs, settings_file, settings_error)
        for found in _looked_at(cache, jobs, inputs, options):
            add(found)
        add(packages.result())
    return {
        "schema": "avpipe.doctor/1",
        "problems": sum(check.state == "problem" for check in checks),
        "warnings": sum(check.state == "warning" for check in checks),
        "exit_code": next((one.exit_code for one in checks if one.state == "problem"), 0),
        "checks": [check.as_json() for check in checks],
    }


def _looked_at(
    cache: Path, jobs: int, inputs: Sequence[str], options: Sequence[str] | None
) -> Iterator[Sequence[Check]]:
    """Look at all but the packages, part by part."""
    broken = broken_among(_NEEDED)
    parts: list[tuple[str, set[str], Callable[[], Sequence[Check]]]] = [
        ("decoder", {"av", "numpy", "pillow", "soxr"}, _decoders),
        ("cache", {"h5py", "numpy"}, lambda: check_folder(cache)),
        ("space", {"av", "h5py", "numpy", "soxr"}, lambda: check_space(cache, inputs, options)),
        ("cores", set(), check_cores),
        ("memory", set(), lambda: check_memory(jobs)),
        ("weights", {"numpy"}, _weights),
    ]  # fmt: skip
    for name, needs, look in parts:
        if lacking := sorted(needs & broken):
            yield [warning(name, f"not looked at: needs {', '.join(lacking)}")]
        else:
            yield _guarded(name, look)


def _guarded(name: str, look: Callable[[], Sequence[Check]]) -> Sequence[Check]:
    try:
        return look()
    except AvpipeError as error:
        return [problem(name, shown(error), exit_code=error.exit_code)]
    except Exception as error:  # whatever is broken: that is what is looked for
        return [problem(name, f"{type(error).__name__}: {error}", exit_code=1)]


def _check_settings(path: Path | None, error: str) -> Check:
    if error:
        return problem(
            "settings", error, "mend that line; `avpipe config` lists the settings", exit_code=2
        )
    if path is None:
        return ok("settings", "no settings file; `avpipe init` writes one")
    return ok("settings", f"{path} is valid")


def _options(cache: Path, jobs: int, path: Path | None, error: str) -> list[str] | None:
    """Return what `extract` is to be asked with; None if the settings let it do nothing."""
    if error:
        return None
    config = [] if path is None else ["--config", str(path)]
    return [*config, "--cache", str(cache), "--jobs", str(jobs)]


def _decoders() -> Sequence[Check]:
    from .decoding import check_decoder, check_program

    return [*check_decoder(), check_program()]


def _weights() -> Sequence[Check]:
    """Say which pretrained files are there and whether they are what they should be."""
    from ..networks.weight_files import list_weights

    document = list_weights()
    states: dict[str, list[str]] = {}
    for entry in document["files"]:
        states.setdefault(entry["state"], []).append(entry["file"])
    troubles = {
        "differs from what it should be": states.get("differs", []),
        "has a damaged record of its hash": states.get("unknown", []),
    }
    if bad := [f"{', '.join(names)} {what}" for what, names in troubles.items() if names]:
        return [
            problem(
                "weights",
                f"in {document['folder']} {'; '.join(bad)}",
                "avpipe weights verify",
                MissingDependencyError.exit_code,
            )
        ]
    counts = f"{len(states.get('agrees', []))} verified"
    if unverified := len(states.get("present", [])):
        counts += f", {unverified} there with no hash to compare"
    total = len(document["files"])
    if absent := states.get("missing"):
        found = (
            f"{total} files known: {counts}, {len(absent)} not in {document['folder']}: "
            f"{', '.join(absent)}"
        )
        advice = "avpipe weights fetch, or --weights random to try things out"
        return [warning("weights", found, advice)]
    return [ok("weights", f"{total} files in {document['folder']}: {counts}")]


def check_text(check: Check) -> str:
    """Render a check, at most 80 columns wide where words allow."""
    indent = " " * (len("problem") + _NAME_WIDTH + 4)
    lines = _wrapped(check.found, f"{check.state:7}  {check.name:{_NAME_WIDTH}}  ", indent)
    if check.advice:
        lines += _wrapped(check.advice, f"{indent}do: ", indent + "    ")
    return "\n".join(lines)


def _wrapped(text: str, first: str, other: str) -> list[str]:
    return textwrap.wrap(
        text,
        _WIDTH,
        initial_indent=first,
        subsequent_indent=other,
        break_long_words=False,
        break_on_hyphens=False,
    )


def verdict_text(document: Document) -> str:
    """Say how it is on the whole."""
    problems, warnings = document["problems"], document["warnings"]
    if not problems and not warnings:
        return "everything is there"
    told = [f"{problems or 'no'} problem{'' if problems == 1 else 's'}"]
    if warnings:
        told.append(f"{warnings} warning{'' if warnings == 1 else 's'}")
    return ", ".join(told) + ("" if problems else ": the everyday commands can run")
