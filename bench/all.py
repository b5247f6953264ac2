"""`make bench`: every bench that needs no arguments, into results.json and the page's tables.

Each bench runs as a process of its own; what it found is in `bench/results.json` at once. The same
command goes on where an earlier one was stopped. Names run those benches alone; the others' figures
stay, each with the machine and the versions that it was made with.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from machine_words import machine_words

HERE = Path(__file__).parent
RESULTS, PAGE = HERE / "results.json", HERE / "README.md"
SCHEMA = "avpipe.bench/1"
BEGIN, END = "<!-- measured: written by `make bench` -->", "<!-- end of measured -->"
BENCHES: dict[str, tuple[str, ...]] = {
    "startup": (),
    "manifest": (),
    "read": (),
    "extract": (),
    "memory": ("--clips", "1000"),
    "loader": (),
    "train": ("--recipes", "slavc", "multi-positive", "distill", "best"),
    "compact": (),
    "evaluate": (),
    "knn": ("--rounds", "2"),
    "teachers": ("--rounds", "3"),
}
"""With the arguments that `make bench` gives them."""
QUICK: dict[str, tuple[str, ...]] = {
    "manifest": ("--clips", "200000"),
    "extract": ("--rounds", "1"),
    "memory": ("--clips", "400"),
    "train": ("--recipes", "slavc", "multi-positive", "--rounds", "1"),
    "compact": ("--steps", "6"),
    "evaluate": ("--n", "1000"),
    "knn": ("--n", "8000", "--rounds", "1"),
    "teachers": ("--rounds", "1"),
}
"""The same for `--quick`: to see that all run."""

Results = dict[str, Any]


def read_results() -> Results:
    """What is known so far."""
    if RESULTS.exists():
        found: Results = json.loads(RESULTS.read_text())
        return found
    return {"schema": SCHEMA, "left": [], "benches": {}}


def write_results(results: Results) -> None:
    """Keep what is known, whole or not at all, and write the page's tables from it."""
    draft = RESULTS.with_suffix(".part")
    draft.write_text(json.dumps(results, indent=1) + "\n")
    draft.rename(RESULTS)
    page = PAGE.read_text()
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    PAGE.write_text(f"{before}{BEGIN}\n\n{tables(results['benches'])}{END}{after}")


def tables(benches: Mapping[str, Any]) -> str:
    """The page's part: what is wanted of each bench, then what each printed, by machine."""
    if not benches:
        return "Nothing yet.\n\n"
    lines = ["| bench | figure | found | wanted |", "|---|---|---|---|"]
    known = [name for name in BENCHES if name in benches]
    for name in known:
        for what, found, wanted in benches[name].get("headline", []):
            lines.append(f"| `{name}.py` | {what} | {found} | {wanted} |")
    machines: dict[str, list[str]] = {}
    for name in known:
        about = benches[name]
        words = ", ".join(f"{key} {value}" for key, value in about["machine"].items())
        machines.setdefault(f"{about['date']}: {words}", []).append(name)
    lines.append("")
    lines += [f"{', '.join(names)}: {words}." for words, names in machines.items()]
    for name in known:
        about = benches[name]
        load = f"load {about['load_before']:.1f} before, {about['load']:.1f} at the end"
        title = " ".join(("python", f"bench/{name}.py", *about["arguments"]))
        lines += ["", f"### `{title}`", "", f"{about['took_s']:.0f} s, {load}.", ""]
        lines += ["```text", about["text"].strip(), "```"]
    return "\n".join(lines) + "\n\n"


def run(name: str, arguments: Sequence[str]) -> dict[str, Any]:
    """Run a bench; what it printed, with all that a figure has to be stated with.

    Raises:
        SystemExit: It failed.
    """
    load, began = os.getloadavg()[0], time.perf_counter()
    command = [sys.executable, str(HERE / f"{name}.py"), *arguments, "--json"]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"bench/{name}.py ended with {done.returncode}; the same command goes on")
    return {
        **json.loads(done.stdout),
        "arguments": list(arguments),
        "date": datetime.now(UTC).date().isoformat(),
        "machine": machine_words(),
        "load_before": load,
        "took_s": time.perf_counter() - began,
    }


def main() -> None:
    """Run what is asked for, or what an earlier run left."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("names", nargs="*", metavar="BENCH", help=", ".join(BENCHES))
    options.add_argument("--quick", action="store_true", help="at small sizes, nothing is kept")
    options.add_argument("--again", action="store_true", help="all, whatever an earlier run did")
    chosen = options.parse_args()
    if unknown := set(chosen.names) - set(BENCHES):
        options.error(f"no bench {', '.join(sorted(unknown))}: one of {', '.join(BENCHES)}")
    if chosen.quick:
        for name in chosen.names or BENCHES:
            print(f"== bench/{name}.py", flush=True)
            print(run(name, QUICK.get(name, ()))["text"], flush=True)
        return
    results = read_results()
    if chosen.names or chosen.again or not results["left"]:
        results["left"] = list(chosen.names or BENCHES)
    while results["left"]:
        name = results["left"][0]
        print(f"== bench/{name}.py", flush=True)
        results["benches"][name] = run(name, BENCHES[name])
        print(results["benches"][name]["text"], flush=True)
        results["left"].pop(0)
        write_results(results)


if __name__ == "__main__":
    main()
