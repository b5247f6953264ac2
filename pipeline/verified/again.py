"""Command lines that make files of runs again: what was recorded of a run is given again."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from ...advice import DEFAULT_CACHE, CommandOptions
from ...cache.store import Cache
from ...errors import AvpipeError, UsageError
from ...train.choices import Branch, Head
from ...train.recipe import Recipe, list_recipes, load_recipe, recipe_values
from ...train.runs.made_by import value_of
from ...train.runs.peers import IMPORTED, PEERS
from ...train.runs.record import RunRecord
from ...train.runs.verify import PAGE, VALIDATION
from ...train.score.protocols import PROTOCOLS
from ...weights import RANDOM
from ..part_names import names_in

_FROM_RECORD = {"--cache", "--recipe", "--set", "--ids", "--hold-out", "--threads"}
"""Options of `train` that the record itself knows, or the ids in it stand for."""
_CAPITALS = {
    "CACHE": "CACHE: the cache that its clips are in",
    "TRUTH": "TRUTH: where the true boxes are",
    "HELD": "HELD: the clips it was validated on",
}
"""What nobody wrote down, and how it is called in a line."""


@dataclass
class _CommandLine:
    """A command line; a comment says what capitals in it stand for."""

    words: list[str]

    def __str__(self) -> str:
        """Return it as a shell takes it."""
        notes = [note for word, note in _CAPITALS.items() if word in self.words]
        return shlex.join(self.words) + (f"  # {'; '.join(notes)}" if notes else "")


@dataclass(frozen=True)
class Again:
    """Makes what lies in a run's folder again.

    Attributes:
        run: The folder.
        record: What the run was made with.
        made: With which options its files were made, as `made_by.noted` returns it.
    """

    run: Path
    record: RunRecord
    made: Mapping[str, CommandOptions]

    def weights(self) -> str:
        """Return what makes the weights again, from the checkpoint that is left or from the start.

        The record knows the recipe by its values, and the clips by their ids.
        """
        if self.record.imported is not None:
            return self._imported(self.record.imported)
        record, asked = self.record, self.made.get("train", ())
        line = _CommandLine(["avpipe", "train", *self._cache()])
        if record.num_ranks > 1:
            line.words[:0] = ["torchrun", "--nproc-per-node", str(record.num_ranks), "-m", "--"]
        line.words += _recipe(record, value_of(asked, "--recipe"))
        if self.run.name == f"seed{record.seed}":
            line.words += ["--run", str(self.run.parent), "--seeds", str(record.seed)]
        else:
            seeds = ["--seeds", str(record.seed)] if record.seed else []
            line.words += ["--run", str(self.run), *seeds]
        if not _all_clips(self._cache_folder(), record):
            line.words += ["--ids", str(self.run / PAGE)]
        line.words += ["--threads", str(record.threads)] if record.threads else []
        line.words += _words(one for one in asked if one[0] not in _FROM_RECORD)
        if not asked and (record.image_weights or "").startswith(RANDOM):
            line.words += ["--weights", RANDOM]
        if not asked and (self.run / VALIDATION).exists():
            line.words += ["--val-ids", "HELD"]
        return str(line)

    def evaluation(self, path: Path) -> str:
        """Return what evaluates again, for scores, a table or stored maps."""
        for name in (path.name, path.stem):
            if (asked := self.made.get(f"evaluate/{name}")) is not None:
                return str(_CommandLine(["avpipe", "evaluate", str(self.run), *_words(asked)]))
        words = ["avpipe", "evaluate", str(self.run), *self._cache(), *_evaluated(path)]
        return str(_CommandLine([*words, "--annotations", "TRUTH"]))

    def export(self, folder: Path) -> str:
        """Return what exports again."""
        out = [] if folder.name == "export" else ["--out", str(folder)]
        asked = self.made.get(f"{folder.name}/", ())
        return str(_CommandLine(["avpipe", "export", str(self.run), *out, *_words(asked)]))

    def page(self, path: Path) -> str:
        """Return what writes a report again."""
        return report_line(self.run, path, self.made.get(path.name, (tuple(self._cache()),)))

    def _imported(self, facts: Mapping[str, Any]) -> str:
        """Return what imports a peer's weights again."""
        asked = self.made.get(IMPORTED)
        if asked is not None:
            words = ["avpipe", IMPORTED, "--run", str(self.run), *_words(asked)]
            return str(_CommandLine(words))
        record, variant = self.record, str(facts.get("variant") or "")
        file, name = (str(facts.get(key)) for key in ("file", "from"))
        usual = record.recipe
        if peer := PEERS.get(name):
            usual = load_recipe(peer.recipe, [*peer.settings, *peer.variants.get(variant, ())])
        line = _CommandLine(["avpipe", IMPORTED, file, "--from", name])
        line.words += ["--variant", variant] if variant else []
        line.words += ["--run", str(self.run), *_settings(record.recipe, usual)]
        line.words += ["--trained-on", str(self.run / PAGE)] if record.ids else []
        return str(line)

    def _cache_folder(self) -> str:
        """Return the cache that the run learnt from; "" where nobody knows."""
        asked = self.made.get("train")
        if asked is None:
            return self.record.cache
        return self.record.cache or value_of(asked, "--cache") or str(DEFAULT_CACHE)

    def _cache(self) -> list[str]:
        return ["--cache", self._cache_folder() or "CACHE"]


def report_line(folder: Path, page: Path, asked: CommandOptions) -> str:
    """Return what writes a page on a run, or on runs of several seeds, again."""
    runs = [one for (one, *values) in asked if not values and not one.startswith("--")]
    options = _words(one for one in asked if one[0].startswith("--"))
    words = ["avpipe", "report", str(folder), *runs, "--out", str(page), *options]
    return str(_CommandLine(words))


def _words(options: Iterable[tuple[str, ...]]) -> list[str]:
    return [word for option in options for word in option]


def _evaluated(path: Path) -> list[str]:
    """Return the options that a file's name tells: benchmark, network and protocol."""
    names = [one for one in names_in("train/benchmarks") if f"{path.stem}-".startswith(f"{one}-")]
    benchmark = max(names, key=len, default="")
    words = ["--benchmark", benchmark] if benchmark else []
    rest = f"-{path.stem.removeprefix(benchmark)}-"
    for option, values in (("branch", get_args(Branch)), ("head", get_args(Head))):
        words += [word for one in values if f"-{one}-" in rest for word in (f"--{option}", one)]
    protocols = [one for one in PROTOCOLS if rest.endswith(f"-{one}-")]
    paper = rest.partition("-paper-")[2].removesuffix("-")
    words += ["--protocol", "paper", "--paper", paper] if paper else []
    words += ["--protocol", max(protocols, key=len)] if protocols and not paper else []
    return words


def _recipe(record: RunRecord, named: str | None) -> list[str]:
    """Return the options that say how a run learnt: a recipe, and what was set otherwise."""
    name = named or record.recipe_name
    if named is None and record.recipe_name not in list_recipes():
        name = f"{record.recipe_name}.toml"
    try:
        return ["--recipe", name, *_settings(record.recipe, load_recipe(name))]
    except UsageError:  # the file is elsewhere, or is not what it was
        return ["--recipe", name]


def _settings(recipe: Recipe, usual: Recipe) -> list[str]:
    """Return the options `--set` that bring one recipe to another."""
    before = recipe_values(usual)
    own = {key: value for key, value in recipe_values(recipe).items() if value != before[key]}
    for key, prefix in (("objective_options", "objective"), ("weights", "weights")):
        own |= {f"{prefix}.{name}": value for name, value in own.pop(key, {}).items()}
    return [word for key, one in own.items() for word in ("--set", f"{key}={_shown(one)}")]


def _shown(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _all_clips(cache: str, record: RunRecord) -> bool:
    """Whether a run learnt from all clips that its cache holds now."""
    try:
        return set(Cache(Path(cache)).ids) == set(record.ids)
    except (AvpipeError, OSError):
        return False
