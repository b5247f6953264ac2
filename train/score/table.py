"""The table that `avpipe evaluate` prints."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ..benchmarks import module_of
from ..negatives.lines import negative_lines
from ..tables.copies import copies_line
from ..truths.forms import Form

Document = Mapping[str, Any]
Figures = Mapping[str, float | None]


OF_RUN = {
    "av_shuffled": "sounds shuffled",
    "blend": "blend with OGL",
    "blend_surrounded": "blend with surrounded",
    "og_avc": "OG-AVC",
    "og_avc_detr": "OG-AVC-DETR",
}
KNOWS_TRUTH = "random_true_box"
OF_ALL = {
    KNOWS_TRUTH: "random true box",
    "saliency": "saliency",
    "center": "center prior",
    "object": "object prior (OGL)",
    "detr": "object map (DETR)",
    "surrounded": "surrounded",
}
_SWEPT = {"predicted": "share predicted", "at": "found from cIoU"}
_SIZES = ("small", "medium", "large", "huge")
_TITLE_WIDTH = 20


def evaluate_text(document: Document) -> str:
    """Return the table of an evaluation.

    Args:
        document: What `evaluate` returned.
    """
    first = document["runs"][0]
    form = form_of(first["benchmark"])
    rows = [*measured_rows(document, form), *subset_rows(document), *alpha_rows(document)]
    published = [row for row in document["published"] if row["main"]]
    titles = [title for title, _ in rows] + [f"  {row['method']}" for row in published]
    width = max(_TITLE_WIDTH, *(len(title) + 1 for title in titles))
    lines = [
        head_text(first),
        "",
        _row("", list(form.columns.values()), width, form),
        *(_scores(title, scores, width, form) for title, scores in rows),
        *_published(document, published, width, form),
        "",
        form.legend,
        *_negatives(document),
        *interval_lines(document, form),
        *remarks(document, form),
        *document["notices"],
    ]
    return "\n".join(lines)


def form_of(benchmark: str) -> Form:
    """Return how a benchmark is shown, as its file says."""
    return module_of(benchmark).FORM


def head_text(run: Document) -> str:
    """Say what was scored, how, and on how many clips."""
    form = form_of(run["benchmark"])
    maps = f", maps {run['geometry']}" if form.has_maps else ""
    head = f", head {run['head']}" if run.get("head") else ""
    text = (
        f"{run['benchmark']}, protocol {run['protocol']}{maps}{head}: "
        f"{run['n_scored']} of {run['n_official']} clips scored"
    )
    if run["ceiling"] is not None and form.percent:
        text += f"; LocAcc can reach {100 * run['ceiling']:.2f} %"
    return text


def measured_rows(document: Document, form: Form) -> Iterator[tuple[str, Figures]]:
    """Yield the rows of runs, of their means and blends, and of what all runs share."""
    groups = document["groups"]
    alone = len(groups) == 1
    names = short_names([run["run"] for run in document["runs"]])
    group_names = short_names([group["name"] for group in groups])
    for group in groups:
        num = len(group["runs"])
        mean, std = group["mean"]["scores"], group["std"]["scores"]
        if num > 1:
            for run in document["runs"]:
                if run["run"] in group["runs"]:
                    yield names[run["run"]], run["scores"]["av"]
        title = "audio-visual map" if alone else group_names[group["name"]]
        yield f"{title}, mean of {num}" if num > 1 else title, mean["av"]
        if num > 1:
            yield "  +- std", std["av"]
        for source, title in OF_RUN.items():
            if mean.get(source):
                yield title if alone else f"  {title}", mean[source]
    for source, title in OF_ALL.items():
        if found := document["runs"][0]["scores"].get(source):
            yield title, found


def subset_rows(document: Document) -> Iterator[tuple[str, Figures]]:
    """Yield the rows of subsets that hold something: a recipe's maps, means over its runs."""
    for prefix, group in _prefixed(document):
        for subset, by_source in group["mean"]["subsets"].items():
            if any(value is not None for value in by_source["av"].values()):
                yield prefix + subset_title(document["runs"][0], subset), by_source["av"]


def _prefixed(document: Document) -> Iterator[tuple[str, Document]]:
    """Yield the groups, with their names where there are several."""
    groups = document["groups"]
    names = short_names([group["name"] for group in groups])
    for group in groups:
        yield f"{names[group['name']]}, " if len(groups) > 1 else "", group


def subset_title(run: Document, subset: str) -> str:
    """Say which pairs a subset holds, and how many clips or negatives that is."""
    if title := form_of(run["benchmark"]).subset_title:
        return title.format(subset)
    if subset in run["pairs"]:
        return f"{subset} ({run['pairs'][subset].get('positive', 0)})"
    headline = next(iter(run["pairs"]))
    return f"{subset} negatives ({run['pairs'][headline].get(subset, 0)})"


def alpha_rows(document: Document) -> Iterator[tuple[str, Figures]]:
    """Yield the rows of what was varied: alpha, the pixels predicted, the cIoU that counts."""
    for prefix, group in _prefixed(document):
        mean = group["mean"]
        for alpha, scores in mean["alphas"].items():
            yield f"{prefix}blend, alpha {alpha}", scores
        for kind, title in _SWEPT.items():
            for value, by_source in mean.get("sweeps", {}).get(kind, {}).items():
                yield f"{prefix}{title} {value}", by_source["av"]
                if by_source.get("blend"):
                    yield "  blend with OGL", by_source["blend"]


def _negatives(document: Document) -> Iterator[str]:
    """Yield the lines about sounds of nothing in the picture, where they were tested."""
    if told := document["runs"][0].get("negatives_from"):
        rows = [
            (f"{prefix}audio-visual map", group["mean"]["negatives"])
            for prefix, group in _prefixed(document)
        ]
        yield from negative_lines(rows, told)


def interval_lines(document: Document, form: Form) -> Iterator[str]:
    """Yield the lines about intervals over clips: of each run, and of the difference of two."""
    names = short_names([run["run"] for run in document["runs"]])
    for run in document["runs"]:
        if ends := run.get("intervals"):
            parts = [f"{title} {_ends(ends.get(key), form)}" for key, title in form.columns.items()]
            yield (
                f"{names[run['run']]}: 95 % intervals over clips, {run['bootstrap']:,} draws: "
                f"{'; '.join(parts)}"
            )
    if found := document.get("difference"):
        parts = [
            f"{title} {figure_text(own['difference'], form)} "
            f"{_ends((own['low'], own['high']), form)}"
            for key, title in form.columns.items()
            if (own := found["scores"].get(key)) and own["difference"] is not None
        ]
        one, other = (names[run] for run in found["runs"])
        told = "; ".join(parts)
        yield f"{one} less {other}, 95 % of the draws of clips, both on the same: {told}"


def _ends(ends: Sequence[float] | None, form: Form) -> str:
    return f"[{figure_text(ends[0], form)}, {figure_text(ends[1], form)}]" if ends else "-"


def _published(
    document: Document, main: Sequence[Document], width: int, form: Form
) -> Iterator[str]:
    """Yield the rows that papers print, under a line for each table of theirs."""
    if not document["published"]:
        return
    yield ""
    yield "published, each by its paper's own protocol:"
    for source in dict.fromkeys(row["source"] for row in main):
        rows = [row for row in main if row["source"] == source]
        learned = {row["trained_on"] for row in rows} - {"nothing"}  # priors learn nothing
        yield f"{source}, trained on {', '.join(sorted(learned))}"
        for row in rows:
            yield _scores(f"  {row['method']}", row["scores"], width, form)
    if more := len(document["published"]) - len(main):
        yield f"{more} more published rows, of other training sets and ablations, are in --json"


def remarks(document: Document, form: Form) -> Iterator[str]:
    """Yield the lines about clips that are missing or were trained on."""
    runs = document["runs"]
    if missing := runs[0]["missing"]:
        yield f"missing: {len(missing)} test clips are not in the cache ({missing[0]}, ...)"
    if len(runs[0]["alphas"]) > 1:
        yield "alphas: the best one here was chosen on the test; choose on other clips"
    for prefix, group in _prefixed(document):
        if (own := group["mean"]["scores"].get("own_sound")) and own["above_other"] is not None:
            yield (
                f"{prefix}own sound: the map is higher inside the truth than with another clip's "
                f"in {100 * own['above_other']:.1f} % of the clips (chance 50), "
                f"AUROC {own['auroc']:.3f}"
            )
    names = short_names([run["run"] for run in runs])
    for run in runs:
        column, title = _told(form, run["scores"]["av"])
        if run["leaked"] is None:
            yield f"leaked: unknown, {names[run['run']]} came without the list of all it has learnt"
        elif run["leaked"]:
            clean = run["leak_free"]
            figures = [s["av"].get(column) for s in (run["scores"], clean["scores"])]
            on_all, on_others = (figure_text(figure, form) for figure in figures)
            yield (
                f"leaked: {names[run['run']]} was trained on {len(run['leaked'])} test clips; "
                f"{title} is {on_all} with them, {on_others} on the {clean['n_scored']} others"
            )
        name = names[run["run"]]
        yield from copies_line(name, run, column, title, lambda v: figure_text(v, form))


def _told(form: Form, scores: Figures) -> tuple[str, str]:
    """Return the score that lines about clips give, and its title: one that there is."""
    if scores.get(form.accuracy) is not None:
        return form.accuracy, form.columns[form.accuracy] if form.percent else "LocAcc"
    known = (column for column in form.columns if scores.get(column) is not None)
    column = next(known, form.accuracy)
    return column, form.columns[column]


def short_names(runs: Sequence[str]) -> dict[str, str]:
    """Return each run's folder name, or its whole path where names repeat."""
    last = [run.rstrip("/").rpartition("/")[2] for run in runs]
    repeat = len(set(last)) < len(last)
    return dict(zip(runs, runs if repeat else last, strict=True))


def _scores(title: str, scores: Figures, width: int, form: Form) -> str:
    cells = [figure_text(scores.get(column), form) for column in form.columns]
    return _row(title, cells, width, form)


def figure_text(value: float | None, form: Form) -> str:
    """Write a score as the benchmark's papers print it; a dash where there is none."""
    if value is None:
        return "-"
    return f"{100 * value:.2f}" if form.percent else f"{value:.3f}"


def _row(title: str, cells: Sequence[str], width: int, form: Form) -> str:
    widths = (max(9, len(heading) + 2) for heading in form.columns.values())
    cells_text = "".join(f"{cell:>{room}}" for cell, room in zip(cells, widths, strict=False))
    return f"{title:<{width}}{cells_text}".rstrip()
