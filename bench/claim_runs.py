"""The commands that `claims.py` gives: a world and its features, runs and scores of every arm."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from avpipe import Cache
from avpipe.cache.schema import digest
from avpipe.train.recipe import Recipe, load_recipe, recipe_values
from claim_arms import HEARING, Arm
from common import avpipe, repeated

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
