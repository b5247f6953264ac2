"""The tables of `claims.py`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from claim_arms import Claim
from common import repeated
from paired import SCORES, Interval, Scored, interval

TITLES = {
    "right_object": "right object",
    "swapped": "swapped",
    "offscreen": "off-screen",
    "mismatched": "mismatched",
    "loc_acc": "LocAcc",
    "ciou": "mean cIoU",
}
ORDER = tuple(TITLES)
"""As in the table of `avpipe evaluate`."""
CONTROLS = {"random_true_box": "random true box", "center": "center prior"}
_OF_CONTROLS = dict(
    zip(ORDER, ("right_object", "swapped_right_object", "auroc_offscreen", "auroc_mismatched",
                "loc_acc_adaptive", "ciou_mean_adaptive"), strict=True)
)  # fmt: skip


def claims_text(
    claims: Mapping[str, Claim],
    records: Mapping[str, dict[str, Any]],
    scored: Mapping[str, Scored],
) -> tuple[str, list[dict[str, Any]]]:
    """Return the Markdown of some claims, and their comparisons as data.

    Args:
        claims: By letter.
        records: Of the arms that are done.
        scored: Of the same arms.
    """
    assert set(ORDER) == set(SCORES)
    parts: list[str] = []
    compared: list[dict[str, Any]] = []
    for letter, claim in claims.items():
        done = [arm for arm in claim.arms if arm in records]
        if not done:
            continue
        parts.append(f"### ({letter}) {claim.title}\n\n{_arms(done, records, scored)}")
        pairs = [pair for pair in claim.pairs if set(pair) <= set(done)]
        found = [_compared(*pair, scored) for pair in pairs]
        compared += [{"claim": letter, **one} for one in found]
        if found:
            parts.append(_pairs(found))
        parts.append(_commands(done, records))
    return "\n\n".join(parts) + "\n", compared


def _head(first: str) -> list[str]:
    return [f"| {first} | {' | '.join(TITLES.values())} |", f"|---{'|---' * len(TITLES)}|"]


def _arms(
    arms: list[str], records: Mapping[str, dict[str, Any]], scored: Mapping[str, Scored]
) -> str:
    """Lay out what each arm scores: the mean over seeds and clips, and its interval."""
    lines = _head("arm")
    for arm in arms:
        cells = [_plain(interval(scored[arm], score)) for score in ORDER]
        lines.append(f"| {arm} | {' | '.join(cells)} |")
    first = records[arms[0]]
    shuffled = [_of_seeds(first["av_shuffled"], score) for score in ORDER]
    lines.append(f"| {arms[0]}, sounds shuffled | {' | '.join(shuffled)} |")
    for control, title in CONTROLS.items():
        cells = [_of_seeds(first[control][:1], score) for score in ORDER]
        lines.append(f"| {title} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _of_seeds(rows: list[dict[str, float | None]], score: str) -> str:
    values = [row[_OF_CONTROLS[score]] for row in rows]
    known = [value for value in values if value is not None]
    return f"{sum(known) / len(known):.3f}" if known else "-"


def _plain(found: Interval) -> str:
    return f"{found.value:.3f} ({found.low:.3f} to {found.high:.3f})"


def _compared(first: str, second: str, scored: Mapping[str, Scored]) -> dict[str, Any]:
    """Hold one arm against another, seed by seed and clip by clip."""
    difference = scored[first].minus(scored[second])
    return {
        "first": first,
        "second": second,
        **{
            score: {
                **interval(difference, score)._asdict(),
                "of_seeds": difference.of_seeds(score).tolist(),
            }
            for score in ORDER
        },
    }


def _pairs(found: list[dict[str, Any]]) -> str:
    """Lay out differences; bold where the interval leaves out 0."""
    lines = _head("difference")
    for one in found:
        cells = []
        for score in ORDER:
            part = Interval(*(one[score][key] for key in Interval._fields))
            text = f"{part.value:+.3f}"
            text = f"**{text}**" if part.settled else text
            cells.append(f"{text} ({part.low:+.3f} to {part.high:+.3f})")
        lines.append(f"| {one['first']} - {one['second']} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _commands(arms: list[str], records: Mapping[str, dict[str, Any]]) -> str:
    """List what makes each arm again, and what its neighbours and clusters are worth."""
    lines = []
    for arm in arms:
        record = records[arm]
        for made in record["before"]:
            told = [f"{key} {value:.3f}" for key, value in made.items() if isinstance(value, float)]
            line = f"avpipe {made['command']}" + (f"    # {', '.join(told)}" if told else "")
            lines.append(line)
        changes = repeated("--set", record["set"])
        words = ("avpipe train --recipe", record["recipe"], *changes)
        lines.append(f"{' '.join(map(str, words))}    # {arm}, {record['steps']} steps")
    return "```text\n" + "\n".join(dict.fromkeys(lines)) + "\n```"
