"""The lists and annotations of a synthetic world, in the formats of the real benchmarks.

`train.txt`, `test.txt`
    One id a line. `test.txt` holds the test clips whose source is in the picture.
`labels.csv`
    Every clip: `id,path,label,split,offscreen,held_out,silent`. `label` is the class that sounds,
    `silent` the classes that only show, separated by spaces; `held_out` is 1 where the label is
    kept out of training.
`vggss.json`
    The sounding object of every clip of `test.txt`, in that order: `{file, class, bbox}`, boxes
    (x1, y1, x2, y2) as shares of the side.
`silent_boxes.json`
    The silent objects of every test clip, off-screen ones included: the same keys, `class` and
    `bbox` in the order of `silent`.
`plus_silent.csv`
    The negatives, `video,audio,label`: off-screen clips (video = audio), then mismatched pairs.
`swapped.csv`
    `video,audio,silent`: given that audio, the map of the video should move to the box number
    `silent` of its entry in `silent_boxes.json`.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Sequence

import numpy as np

from .scenes import MISMATCHED_SHARE, SIDE_PX, NamedClass, SynthClip, SynthObject
from .world import PAIRS

NON_SOUNDING = "non-sounding"
"""The label of every negative, as in the released lists."""

Pairs = list[tuple[SynthClip, SynthClip]]
Swaps = list[tuple[SynthClip, SynthClip, int]]


def draw_pairs(seed: int, clips: Sequence[SynthClip]) -> tuple[Pairs, Swaps]:
    """Choose mismatched pairs and swapped sounds among the test clips that show their source.

    A mismatched pair joins a picture of trained classes with the sound of a trained class that is
    not in it: 15 % of the test clips, no picture twice. A swap gives a picture the sound of each
    of its silent objects in turn, taken from another clip, where there is one.

    Returns:
        (picture, sound) pairs, and (picture, sound, index of the silent object) triples.
    """
    rng = np.random.default_rng([seed, PAIRS])
    num_test = sum(clip.split == "test" for clip in clips)
    positives = [clip for clip in clips if clip.split == "test" and not clip.offscreen]
    heard = [clip for clip in positives if not clip.held_out]
    by_class: dict[int, list[SynthClip]] = {}
    for clip in positives:
        by_class.setdefault(clip.sound_class, []).append(clip)

    mismatched: Pairs = []
    for item in rng.permutation(len(heard)):
        shown = {thing.class_index for thing in heard[item].objects}
        strangers = [clip for clip in heard if clip.sound_class not in shown]
        if strangers and len(mismatched) < round(MISMATCHED_SHARE * num_test):
            mismatched.append((heard[item], strangers[rng.integers(len(strangers))]))
    swapped: Swaps = []
    for clip in positives:
        for number, thing in enumerate(clip.silent):
            if makers := by_class.get(thing.class_index):
                swapped.append((clip, makers[rng.integers(len(makers))], number))
    return mismatched, swapped


def lists(
    clips: Sequence[SynthClip], classes: Sequence[NamedClass], mismatched: Pairs, swapped: Swaps
) -> dict[str, str]:
    """Give the text of every file of the table above, by name."""
    train = [clip for clip in clips if clip.split == "train"]
    test = [clip for clip in clips if clip.split == "test"]
    positives = [clip for clip in test if not clip.offscreen]
    sounding = [_boxes(clip, clip.objects[:1], classes) for clip in positives]
    silent = [_boxes(clip, clip.silent, classes) for clip in test]
    negatives = [(clip, clip) for clip in test if clip.offscreen] + mismatched
    return {
        "train.txt": "".join(f"{clip.clip_id}\n" for clip in train),
        "test.txt": "".join(f"{clip.clip_id}\n" for clip in positives),
        "labels.csv": csv_text(
            ["id", "path", "label", "split", "offscreen", "held_out", "silent"],
            (_label_row(clip, classes) for clip in clips),
        ),
        "vggss.json": json.dumps(sounding),
        "silent_boxes.json": json.dumps(silent),
        "plus_silent.csv": csv_text(
            ["video", "audio", "label"],
            ([video.clip_id, audio.clip_id, NON_SOUNDING] for video, audio in negatives),
        ),
        "swapped.csv": csv_text(
            ["video", "audio", "silent"],
            ([video.clip_id, audio.clip_id, number] for video, audio, number in swapped),
        ),
    }


def _label_row(clip: SynthClip, classes: Sequence[NamedClass]) -> list[object]:
    return [
        clip.clip_id,
        f"videos/{clip.clip_id}.mp4",
        classes[clip.sound_class].name,
        clip.split,
        int(clip.offscreen),
        int(clip.held_out),
        _names(clip.silent, classes),
    ]


def _boxes(
    clip: SynthClip, things: Sequence[SynthObject], classes: Sequence[NamedClass]
) -> dict[str, object]:
    shares = [(np.array(thing.box_px) / SIDE_PX).tolist() for thing in things]
    return {"file": clip.clip_id, "class": _names(things, classes), "bbox": shares}


def _names(things: Sequence[SynthObject], classes: Sequence[NamedClass]) -> str:
    return " ".join(classes[thing.class_index].name for thing in things)


def csv_text(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Return a table as CSV."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    return text.getvalue()
