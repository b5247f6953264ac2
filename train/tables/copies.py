"""Test clips that were trained on under another name, and the scores without them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple


class Suspects(NamedTuple):
    """What a search for copies found.

    Attributes:
        pairs: Of each suspected test clip `test`, `training` (what it is like), `frame` and `sound`
            (cosines of their pictures and sounds).
        num_compared: Training clips that were looked at.
        num_absent: Training clips that are in no cache at hand, so nobody knows.
        alike: The cosines from which a clip is suspected, `frame` and `sound`.
        notices: Lines the user should see.
    """

    pairs: list[dict[str, Any]]
    num_compared: int
    num_absent: int
    alike: dict[str, float]
    notices: tuple[str, ...] = ()


FindCopies = Callable[[frozenset[str], Sequence[str]], Suspects]
"""From the ids that a run was trained on and those of the test."""


def copies_entry(found: Suspects) -> dict[str, Any]:
    """Return what a run's part of the document says of a search."""
    return {
        "suspected": found.pairs,
        "num_compared": found.num_compared,
        "num_absent": found.num_absent,
        "alike": found.alike,
    }


def copies_line(
    name: str, run: Mapping[str, Any], column: str, title: str, text: Callable[[Any], str]
) -> Iterator[str]:
    """Yield the lines about a run's copies, if they were searched for.

    Args:
        name: What the run is called.
        run: Its part of the document.
        column: The score that is given with and without them.
        title: What that is called.
        text: Writes a score.
    """
    if "copies" not in run:
        return
    if run["copies"] is None:
        yield f"copies: unknown, {name} came without the list of all it has learnt"
        return
    found, clean = run["copies"], run["copy_free"]
    compared = f"{found['num_compared']:,} training clips compared"
    if found["num_absent"]:
        compared += f", {found['num_absent']:,} are not in the cache and were not"
    if not found["suspected"]:
        yield f"copies: none of the test clips looks or sounds like one {name} learnt ({compared})"
        return
    yield (
        f"copies: {len(found['suspected'])} test clips look or sound like clips that {name} was "
        f"trained on ({compared}); {title} is {text(run['scores']['av'][column])} with them, "
        f"{text(clean['scores']['av'].get(column))} on the {clean['n_scored']} that are neither "
        "copies nor leaked"
    )
    for pair in found["suspected"][:_SHOWN]:
        yield (
            f"  {pair['test']} is like {pair['training']}: picture {pair['frame']:.3f}, sound "
            f"{pair['sound']:.3f}"
        )
    if len(found["suspected"]) > _SHOWN:
        yield f"  {len(found['suspected']) - _SHOWN} more are in --json"


_SHOWN = 10
