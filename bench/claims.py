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
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from avpipe import Cache, __version__
from avpipe.cache.schema import digest
from avpipe.train.recipe import Recipe, load_recipe, recipe_values
from claim_arms import ARMS, CLAIMS, HEARING, Arm, Claim, students
from claims_text import claims_text
from common import avpipe, repeated
from paired import read_scored

CACHE = ("--cache", "avcache")
IDS = ("--ids", "world/train.txt")
SCORES = ("right_object", "swapped_right_object", "auroc_offscreen", "auroc_mismatched",
          "loc_acc_adaptive", "ciou_mean_adaptive", "ap_adaptive")  # fmt: skip


@dataclass(frozen=True)
class Bench:
    """What was asked for, and the folder where all of it is made."""

    folder: Path
    material: tuple[str, ...]
    clips: int
    test: int
    weights: tuple[str, ...]
    seeds: tuple[int, ...]
    overrides: tuple[str, ...]
    arms: Mapping[str, Arm]
    made: dict[str, dict[str, Any]] = field(default_factory=dict)

    def command(self, words: Sequence[object]) -> str:
        """Run a command in the folder; its `--json` document as text."""
        print("$ avpipe", *words, flush=True)
        return avpipe(*words, "--json", folder=self.folder)

    def prepare(self) -> None:
        """Compose the world, extract it, and run the teachers."""
        world = ("--clips", self.clips, "--test", self.test, "--seed", 0)
        self.command(("synth", "world", *self.material, *world))
        self.command(("extract", "world/labels.csv", *CACHE))
        teachers = ("--visual", "mobilenet-v2", "--visual-size", 448, "--audio", HEARING)
        self.command(("embed-teachers", *CACHE, *teachers, *repeated("--weights", self.weights)))

    def settings(self, arm: Arm, seed: int | str = "{seed}") -> tuple[str, ...]:
        """Return an arm's `--set`, and those given on the command line."""
        runs = {arm.after: self.name(arm.after)} if arm.after else {}
        return tuple(one.format(seed=seed, runs=runs) for one in (*arm.changes, *self.overrides))

    def name(self, arm: str) -> str:
        """Return what an arm's runs are called: a digest of what is not usual in its recipe."""
        one = self.arms[arm]
        usual = recipe_values(Recipe())
        values = recipe_values(load_recipe(one.recipe, self.settings(one)))
        chosen = {key: value for key, value in values.items() if value != usual[key]}
        return f"{arm}-{digest(chosen)[:8]}"

    def learn(self, arm: str) -> dict[str, Any]:
        """Train and score an arm; return its record, which is kept."""
        one, name = self.arms[arm], self.name(arm)
        kept = self.folder / "results" / f"{name}.json"
        if kept.exists():
            record: dict[str, Any] = json.loads(kept.read_text())
            if set(self.seeds) <= set(record["seeds"]):
                return record
        if one.after:
            self.learn(one.after)
        made = [
            self._before(one, words, seed) for words in one.before for seed in self._each(words)
        ]
        steps = [self._train(one, name, seed) for seed in self._each(*one.changes)]
        runs = [f"runs/{name}/seed{seed}" for seed in self.seeds]
        document = json.loads(
            self.command(("evaluate", *runs, *CACHE, "--annotations", "world"))
        )  # fmt: skip
        of_runs = [run["scores"] for run in document["runs"]]
        record = {
            "arm": arm,
            "recipe": one.recipe,
            "set": (*one.changes, *self.overrides),
            "before": made,
            "seeds": self.seeds,
            "steps": steps[0],
            "clips": document["runs"][0]["n_scored"],
            "runs": runs,
            **{
                row: [{score: scores[row].get(score) for score in SCORES} for scores in of_runs]
                for row in ("av", "av_shuffled", "random_true_box", "center")
            },
        }
        kept.parent.mkdir(exist_ok=True)
        kept.write_text(json.dumps(record, indent=1))
        return record

    def _each(self, *texts: str) -> tuple[str, ...]:
        """Return the seeds one by one where texts speak of them, else all in one."""
        each = tuple(map(str, self.seeds))
        return each if any("{seed}" in text for text in texts) else (",".join(each),)

    def _before(self, arm: Arm, words: str, seed: str) -> dict[str, Any]:
        """Run a command that an arm needs first; return what of it tells something."""
        runs = {arm.after: self.name(arm.after)} if arm.after else {}
        wanted = shlex.split(words.format(seed=seed, runs=runs))
        ids = () if wanted[0] == "embed-teachers" else IDS
        if words in self.made and "{seed}" not in words:
            return self.made[words]
        document = json.loads(self.command((*wanted, *CACHE, *ids, *self._files(words))))
        found = {key: document[key] for key in ("purity", "purity_shuffled") if key in document}
        for stage in document.get("stages", ()) if wanted[0] == "knn" else ():
            found[stage.partition("@")[0]] = alike(self.folder / "avcache", stage)
        self.made[words] = {"command": shlex.join(wanted), **found}
        return self.made[words]

    def _train(self, arm: Arm, name: str, seeds: str) -> int:
        """Train runs; return the steps of each."""
        words = ("train", "--recipe", arm.recipe, "--run", f"runs/{name}", "--seeds", seeds)
        files = self._files("mobilenet-v2") if arm.pretrained else ()
        changes = repeated("--set", self.settings(arm, seeds))
        document = json.loads(
            self.command((*words, *CACHE, *IDS, "--threads", 1, *changes, *files))
        )
        return int(document["runs"][0]["num_steps"])

    def _files(self, words: str) -> tuple[object, ...]:
        """Return what of `--weights` a command takes: no file of a network it does not name."""
        split = [one.partition("=") for one in self.weights]
        return repeated("--weights", ["".join(s) for s in split if not s[1] or s[0] in words])


def alike(cache: Path, stage: str) -> float:
    """Return the share of a stage's neighbours whose sound is of the clip's own class."""
    opened = Cache(cache)
    labels = {row: line.get("label") for row, line in opened.manifest.lines()}
    near = opened.neighbors(stage.partition("/")[2])
    rows = [row for row in opened.rows.tolist() if row in near]
    same = [labels[row] == labels[other] for row in rows for other in near[row][0].tolist()]
    return sum(same) / len(same)


def machine() -> dict[str, Any]:
    """Say where the figures are from."""
    names = [line.partition(":")[2].strip() for line in _lines(Path("/proc/cpuinfo"))
             if line.startswith("model name")]  # fmt: skip
    from importlib.metadata import version

    return {
        "processor": names[0] if names else platform.processor(),
        "cores": os.cpu_count(),
        "load": round(os.getloadavg()[0], 1),
        "versions": {"avpipe": __version__, "python": platform.python_version(),
                     **{name: version(name) for name in ("torch", "torchvision", "numpy")}},
    }  # fmt: skip


def _lines(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.exists() else []


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
    (bench.folder / "claims.md").write_text(text)
    document = {"schema": "avpipe.bench.claims/1", "machine": machine(), "arms": records,
                "pairs": pairs}  # fmt: skip
    (bench.folder / "claims.json").write_text(json.dumps(document, indent=1))


def parsed() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("photos", "sounds", "backgrounds"):
        parser.add_argument(f"--{name}", type=Path, required=True)
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
