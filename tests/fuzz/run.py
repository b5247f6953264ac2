"""Damages media files for as long as one likes: `make fuzz MINUTES=60`.

Damage that gives an outcome never seen before (another reason, other words, another order of time)
is kept and damaged further. Guidance by coverage would need an FFmpeg built for it.

A run's seed decides everything it does, given how fast the machine is not: findings are stored as
the seed file and the edits that make them, by which `remade` makes them again. Totals of all runs
stand in `totals.json`.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from random import Random
from typing import Any

from avpipe.stages.features import FeatureParams
from stopped import run_until_stopped

from .judge import Judge, Outcome
from .mutate import Mutator
from .recipe import Recipe
from .seeds import pictures, sounds, videos

MOST_EDITS = 24
MOST_KEPT = 4000
_WRITE_EVERY_S = 20.0


class Fuzzer:
    """One run: chooses inputs, keeps what is new, notes what is wrong."""

    def __init__(self, number: int, folder: Path) -> None:
        """Make the seeds.

        Args:
            number: The run's seed.
            folder: Where inputs stand.
        """
        self.random = Random(number)
        self.seeds: dict[str, bytes] = {**videos(), **sounds(), **pictures()}
        self._mutator = Mutator(self.random, self.seeds, str(folder))
        self._bare = [Recipe(name) for name in videos()]
        for name in sounds():
            self._bare.append(Recipe(name, beside="jpg"))
            self._bare += [Recipe(kind, beside=name) for kind in ("jpg", "jpg-progressive", "png")]
        self._bare += [Recipe(name, ask=(("do", "picture"),)) for name in pictures()]
        self.kept: list[Recipe] = []
        self.keys: set[str] = set()

    def bare(self) -> Iterator[Recipe]:
        """Yield the seeds as they are."""
        yield from self._bare

    def next(self) -> Recipe:
        """Return the next input."""
        old = self.random.choice(self._bare)
        if self.kept and self.random.random() < 0.4:
            old = self.random.choice(self.kept)
        data, edits = old.content(self.seeds), list(old.edits)
        for _ in range(self.random.choice((1, 1, 1, 2, 3))):
            more = self._mutator.edits(data)
            edits += more
            data = old.with_edits(edits).content(self.seeds)
        summed = old.seed.startswith(("og", "png")) and self.random.random() < 0.8
        ask = old.ask
        if not ask and not old.beside and self.random.random() < 0.15:
            ask = self.random.choice(
                (
                    (("do", "duration"),),
                    (("start_s", 0.1), ("seconds", 0.3)),
                    (("start_s", self.random.choice((0.0, 0.25, 5.0, 1e9))),),
                )
            )
        return Recipe(old.seed, tuple(edits), summed, old.beside, ask)

    def learn(self, recipe: Recipe, outcome: Outcome) -> bool:
        """Keep an input whose outcome is new; tell whether it was."""
        if outcome.key in self.keys:
            return False
        self.keys.add(outcome.key)
        if len(recipe.edits) <= MOST_EDITS and outcome.busy_s < 1:
            if len(self.kept) >= MOST_KEPT:
                self.kept.pop(self.random.randrange(MOST_KEPT))
            self.kept.append(recipe)
        return True


def minimal(judge: Judge, recipe: Recipe, seeds: Mapping[str, bytes], wrong: str) -> Recipe:
    """Leave out edits without which the same goes wrong in a new process."""
    kind = wrong.partition(":")[0]
    tried = 0
    at = 0
    while at < len(recipe.edits) and tried < 40:
        fewer = recipe.with_edits(recipe.edits[:at] + recipe.edits[at + 1 :])
        tried += 1
        if judge.again(fewer, seeds).wrong.partition(":")[0] == kind:
            recipe = fewer
        else:
            at += 1
    return recipe


class Totals:
    """What all runs in a folder did, in a file that is whole at any moment."""

    def __init__(self, folder: Path, run: Mapping[str, Any]) -> None:
        """Read what there is, and begin a run."""
        self._path = folder / "totals.json"
        self.data: dict[str, Any] = {"inputs": 0, "seconds": 0.0, "reasons": {}, "runs": []}
        if self._path.is_file():
            self.data = json.loads(self._path.read_text())
        self.run: dict[str, Any] = {**run, "inputs": 0, "seconds": 0.0, "new": 0, "findings": []}
        self.reasons = Counter(self.data["reasons"])
        self.data["runs"].append(self.run)

    def add(self, outcome: Outcome, is_new: bool) -> None:
        """Count an input."""
        self.run["inputs"] += 1
        self.data["inputs"] += 1
        self.run["new"] += is_new
        self.reasons[outcome.reason] += 1

    def write(self, seconds: float, judge: Judge) -> None:
        """Write everything down."""
        self.data["seconds"] += seconds - self.run["seconds"]
        self.run["seconds"] = seconds
        self.run["most_bytes"], self.run["resident"] = judge.most_bytes, judge.resident_bytes()
        self.data["reasons"] = dict(sorted(self.reasons.items()))
        draft = self._path.with_suffix(".draft")
        draft.write_text(json.dumps(self.data, indent=1))
        os.replace(draft, self._path)  # noqa: PTH105

    def line(self) -> str:
        """Say where the run stands."""
        rate = self.run["inputs"] / max(self.run["seconds"], 1e-9)
        return (
            f"{self.run['inputs']} inputs, {rate:.0f} a second, {self.run['new']} new outcomes, "
            f"{len(self.run['findings'])} findings; {self.data['inputs']} inputs in all runs"
        )


def fuzz(number: int, seconds: float, folder: Path, params: FeatureParams) -> Totals:
    """Damage files for so long.

    Args:
        number: The run's seed.
        seconds: How long.
        folder: Of totals and findings.
        params: Of the decoder.
    """
    folder.mkdir(parents=True, exist_ok=True)
    shared = Path("/dev/shm")
    place = (shared if shared.is_dir() else folder) / f"avpipe-fuzz-{os.getpid()}"
    try:
        with Judge(place, params) as judge:
            return _fuzz(number, seconds, folder, judge, Fuzzer(number, place))
    finally:
        shutil.rmtree(place, ignore_errors=True)


def _fuzz(number: int, seconds: float, folder: Path, judge: Judge, fuzzer: Fuzzer) -> Totals:
    params = judge.params
    totals = Totals(folder, {"seed": number, "decoder": params.decoder, "frame": params.frame})
    wrongs: Counter[str] = Counter()
    totals.run["wrong"] = wrongs
    bare = fuzzer.bare()
    begun = written = time.monotonic()
    try:
        while (at := time.monotonic()) < begun + seconds:
            recipe = next(bare, None) or fuzzer.next()
            outcome = judge.judge(recipe, fuzzer.seeds)
            totals.add(outcome, fuzzer.learn(recipe, outcome))
            if outcome.wrong:
                kind = f"{recipe.seed.partition('-')[0]} {re.sub('[0-9]+', '#', outcome.wrong)}"[
                    :90
                ]
                wrongs[kind] += 1
                if wrongs[kind] == 1:
                    totals.run["findings"].append(_finding(judge, recipe, fuzzer.seeds, outcome))
            if outcome.wrong or at > written + _WRITE_EVERY_S:
                written = at
                totals.write(at - begun, judge)
                print(totals.line(), file=sys.stderr, flush=True)
    finally:  # also at Ctrl-C
        totals.write(time.monotonic() - begun, judge)
    return totals


def _finding(
    judge: Judge, recipe: Recipe, seeds: Mapping[str, bytes], outcome: Outcome
) -> dict[str, Any]:
    """Return a finding: what went wrong, whether it does again, and the fewest edits for it."""
    again = judge.again(recipe, seeds)
    same = again.wrong.partition(":")[0] == outcome.wrong.partition(":")[0]
    if same:
        recipe = minimal(judge, recipe, seeds, outcome.wrong)
    return {"wrong": outcome.wrong, "again": again.wrong or again.reason, **recipe.as_json()}


def main() -> int:
    """Run from the command line; 1 where something was found."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=None, help="of the run; the next if not given")
    parser.add_argument("--folder", type=Path, default=Path("build/fuzz"))
    parser.add_argument("--decoder", default="pyav")
    parser.add_argument("--frame", default="middle")
    given = parser.parse_args()
    params = FeatureParams(decoder=given.decoder, frame=given.frame)
    number = given.seed
    if number is None:
        path = given.folder / "totals.json"
        number = len(json.loads(path.read_text())["runs"]) if path.is_file() else 0
    totals = fuzz(number, given.minutes * 60, given.folder, params)
    print(f"seed {number}: {totals.line()}")
    return 1 if totals.run["findings"] else 0


if __name__ == "__main__":
    run_until_stopped(main, "the next call adds to it")
