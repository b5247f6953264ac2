"""Five papers' claims on a world composed of photographs and recordings: a section of docs/log.md.

    python bench/claims.py --photos DIR --sounds DIR --backgrounds DIR --weights NAME=FILE ...
                           [--splits FILE] [--held-out NAMES] [--seeds 5] [--only a,b] [--out DIR]

Composes the world, runs the teachers once, trains every arm of `claim_arms.py` with every seed,
and compares arms pair by pair (`paired.py`). Everything goes through the commands of every day.
An arm that is done is not done again, so a stopped call goes on; a recipe that has changed since is
another arm. `claims.md` and `claims.json` in the folder are written anew after every arm.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from avpipe import __version__
from claim_arms import ARMS, CLAIMS, Claim, students
from claim_runs import Bench
from claims_text import claims_text
from paired import read_scored


def machine() -> dict[str, Any]:
    """Say where the figures are from."""
    names = [line.partition(":")[2].strip() for line in _lines(Path("/proc/cpuinfo"))
             if line.startswith("model name")]  # fmt: skip
    return {
        "processor": names[0] if names else platform.processor(),
        "cores": os.cpu_count(),
        "load": round(os.getloadavg()[0], 1),
        "versions": {"avpipe": __version__, "python": platform.python_version(),
                     **{name: version(name) for name in ("torch", "torchvision", "numpy")}},
    }  # fmt: skip


def _lines(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.exists() else []


def heading(bench: Bench, records: Mapping[str, dict[str, Any]], there: Mapping[str, Any]) -> str:
    """Say what the figures are of, and where they were made."""
    first = next(iter(records.values()))
    versions = ", ".join(f"{name} {number}" for name, number in there["versions"].items())
    return (
        f"{bench.clips} clips to learn from, {first['clips']} test clips of heard classes whose "
        f"source is in the picture, {len(bench.seeds)} seeds. Means over seeds and clips; in "
        "brackets the middle 95 % of draws of both. Differences are paired by seed and clip, and "
        f"bold where 0 lies outside. {there['processor']}, {there['cores']} cores, load "
        f"{there['load']} at the end; {versions}."
    )


def write(bench: Bench, records: Mapping[str, dict[str, Any]], claims: Mapping[str, Claim]) -> None:
    """Write what is known so far, as Markdown and as JSON."""
    scored = {
        arm: read_scored(
            [
                bench.folder / run / "evaluate/synth-avpipe.csv"
                for run in record["runs"][: len(bench.seeds)]
            ]
        )
        for arm, record in records.items()
    }
    text, pairs = claims_text(claims, records, scored)
    there = machine()
    (bench.folder / "claims.md").write_text(f"{heading(bench, records, there)}\n\n{text}")
    document = {"schema": "avpipe.bench.claims/1", "machine": there, "arms": records,
                "pairs": pairs}  # fmt: skip
    (bench.folder / "claims.json").write_text(json.dumps(document, indent=1))


def parsed() -> argparse.Namespace:
    """Read the command line."""
    plain = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=plain)
    for name in ("photos", "sounds", "backgrounds"):
        parser.add_argument(f"--{name}", type=Path, required=True, metavar="DIR")
    parser.add_argument("--splits", type=Path, help="as `avpipe synth` takes it")
    parser.add_argument("--held-out", help="as `avpipe synth` takes it")
    parser.add_argument("--weights", action="append", required=True, metavar="NAME=FILE|random")
    parser.add_argument("--clips", type=int, default=1200)
    parser.add_argument("--test", type=int, default=600, help="15 in 100 of them off-screen")
    parser.add_argument("--seeds", type=int, default=5, help="how many")
    parser.add_argument("--only", default="a,b,c,d,e", help="claims, as in a,b")
    parser.add_argument("--arms", help="of these claims only these arms, as in ez-max,slavc")
    parser.add_argument("--steps", default="74,148,296", help="budgets of the students of (d)")
    parser.add_argument("--set", action="append", default=[], help="of every arm: a toy run")
    parser.add_argument("--out", type=Path, default=Path("claims-out"))
    return parser.parse_args()


def main() -> None:
    """Prepare, train, score, compare."""
    asked = parsed()
    folders = [f"--{name}={getattr(asked, name).absolute()}"
               for name in ("photos", "sounds", "backgrounds")]  # fmt: skip
    options = {"splits": asked.splits and asked.splits.absolute(), "held-out": asked.held_out}
    folders += [f"--{name}={value}" for name, value in options.items() if value]
    asked.out.mkdir(parents=True, exist_ok=True)
    more, hinted = students([int(steps) for steps in asked.steps.split(",")], asked.clips)
    known = dict(sorted({**CLAIMS, "d": hinted}.items()))
    claims = {name: known[name] for name in asked.only.split(",")}
    bench = Bench(
        asked.out.absolute(), tuple(folders), asked.clips, asked.test,
        tuple(_absolute(one) for one in asked.weights), tuple(range(asked.seeds)),
        tuple(asked.set), {**ARMS, **more},
    )  # fmt: skip
    arms = list(dict.fromkeys(arm for claim in claims.values() for arm in claim.arms))
    if asked.arms:
        arms = [arm for arm in arms if arm in asked.arms.split(",")]
    bench.prepare()
    records: dict[str, dict[str, Any]] = {}
    for arm in arms:
        records[arm] = bench.learn(arm)
        write(bench, records, claims)
    print((bench.folder / "claims.md").read_text())


def _absolute(spec: str) -> str:
    """Return a `NAME=FILE` that holds in any folder."""
    name, sign, file = spec.partition("=")
    return f"{name}={Path(file).absolute()}" if sign else spec


if __name__ == "__main__":
    main()
