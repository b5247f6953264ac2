"""What each recipe learns on two synthetic worlds: the tables of docs/log.md, made again.

    python bench/learning.py FOLDER [--worlds easy,hard] [--recipes ez-vsl,...] [--seeds 0,1,2]
                                    [--epochs 12]

Everything goes through the commands of every day. What is there is not made again, so a stopped
call goes on. A run takes 1 to 5 minutes on one core; the stand-in teachers 15.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from common import avpipe, changed, repeated, settings

WORLDS = {
    "easy": (),  # two objects, .28 to .42 of the side
    "hard": ("--objects", "3", "--size", "0.2", "0.28"),
}


NETWORK = settings(
    "image_encoder=compact width=32 embed_dim=512 projection=linear image_init=scratch "
    "last_stride=2 audio_last_stride=2 audio_pool=4 spectrogram_mean=-10 spectrogram_std=4 "
    "image_size=96 image_resize=96 crop_pad=9"
)
"""Small frames and networks, the same for all."""
STEPS = settings(
    "optimizer=adamw lr=1e-3 weight_decay=1e-4 warmup_steps=20 batch_size=32 "
    "ema=0.99 test_weights=ema"
)
EPOCHS = 12
"""300 steps of 32 clips."""
PLAIN = (*(s for s in NETWORK if not s.startswith("image_encoder")), "last_layer=3")
"""The same with torchvision's ResNet18 up to layer 3: stride 16, padded."""
CLUSTERS = "clusters=panns-cnn14-k12"
NEIGHBORS = settings("num_neighbors=40 image_neighbors=detr-r50 audio_neighbors=panns-cnn14")
HEARD = "audio_teacher=panns-cnn14"


SMALL = (*NETWORK, *STEPS)
DROPOUT = ("visual_dropout=0.5", "momentum=0.9")
RUNS: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "ez-vsl": ("ez-vsl", SMALL),
    "slavc": ("slavc", changed(SMALL, *DROPOUT)),
    "multi-positive": ("multi-positive", changed(SMALL, *NEIGHBORS)),
    "distill": ("distill", changed(SMALL, "embed_dim=2048", HEARD)),
    "spm-audio": ("spm-audio", (*NETWORK, *STEPS[:-2], CLUSTERS)),
    "spm": ("spm", changed(SMALL, "embed_dim=128", "projection=mlp", CLUSTERS)),
    "best": ("best", changed(SMALL, *NEIGHBORS, HEARD)),
    "best-no-hints": ("best", changed(SMALL, *NEIGHBORS, HEARD, "hints=none")),
    "distill-no-hints": ("distill", changed(SMALL, "embed_dim=2048", HEARD, "hints=none")),
    "r18-max": ("ez-vsl", (*PLAIN, *STEPS)),
    "r18-lse": ("ez-vsl", (*PLAIN, *STEPS, "pooling=lse")),
    "r18-mean": ("ez-vsl", (*PLAIN, *STEPS, "pooling=mean")),
    "r18-slavc": ("slavc", (*PLAIN, *STEPS, *DROPOUT)),
}
COLUMNS = {
    "right_object": "right object",
    "swapped_right_object": "swapped",
    "auroc_offscreen": "AUROC",
    "loc_acc_adaptive": "LocAcc",
    "ciou_mean_adaptive": "mean cIoU",
}
RETRIEVAL = {"a2i_r1_class": "R@1 A>I", "i2a_r1_class": "R@1 I>A"}


def prepare(folder: Path, name: str) -> None:
    """Make a world, its cache, what the stand-in teachers see and hear, neighbours, clusters."""
    world, cache = folder / name, folder / f"{name}-cache"
    stand_in = folder / "stand-in"
    avpipe("synth", world, "--clips", 800, "--seed", 7, *WORLDS[name])
    avpipe("extract", world / "videos", "--cache", cache)
    if not (stand_in / "STAND-IN.txt").exists():  # learnt on the easy world: the classes are one
        script = Path(__file__).with_name("stand_in_teachers.py")
        easy = folder / "easy"
        subprocess.run([sys.executable, script, easy, f"{easy}-cache", stand_in], check=True)
    panns = ("--weights", f"panns-cnn14={stand_in / 'Cnn14_mAP=0.431.pth'}")
    both = ("--weights", f"detr-r50={stand_in}", *panns)
    ids = ("--cache", cache, "--ids", world / "train.txt")
    avpipe("embed-teachers", "--cache", cache, "--audio", "panns-cnn14", *both)
    avpipe("knn", *ids, "--k", 40, "--image", "detr-r50", "--audio", "panns-cnn14", *both)
    avpipe("cluster", *ids, "--k", 12, "--encoder", "panns-cnn14", *panns)


def learn(folder: Path, world: str, name: str, seed: int, epochs: int) -> Path:
    """Train one run; return its folder."""
    recipe, values = RUNS[name]
    run = folder / "runs" / f"{world}-{epochs}" / name / f"seed{seed}"
    if name == "spm":
        values = (*values, f"audio_init={learn(folder, world, 'spm-audio', seed, epochs)}")
    words = repeated("--set", (*values, f"epochs={epochs}"))
    avpipe("train", "--cache", folder / f"{world}-cache", "--ids", folder / world / "train.txt",
           "--recipe", recipe, "--run", run.parent, "--seeds", seed, *words)  # fmt: skip
    return run


def scored(folder: Path, world: str, runs: Sequence[Path], *options: str) -> list[dict[str, Any]]:
    """Evaluate runs."""
    words = ("--cache", folder / f"{world}-cache", "--annotations", folder / world, "--json")
    document = json.loads(avpipe("evaluate", *runs, *words, *options))
    return [run["scores"] for run in document["runs"]]


def row(title: str, all_scores: Sequence[Mapping[str, Any]], columns: Mapping[str, str]) -> str:
    """Give a line of the table: mean and sample deviation over seeds."""
    cells = []
    for key in columns:
        values = [scores[key] for scores in all_scores if scores.get(key) is not None]
        std = f" ± {np.std(values, ddof=1):.3f}" if len(values) > 1 else ""
        cells.append(f"{np.mean(values):.3f}{std}" if values else "-")
    return f"| {title} | " + " | ".join(cells) + " |"


def main() -> None:
    """Train, score, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--worlds", default="easy,hard")
    parser.add_argument("--recipes", default="ez-vsl,slavc,multi-positive,distill,spm,best")
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--epochs", type=int, default=EPOCHS)
    asked = parser.parse_args()
    seeds = [int(seed) for seed in asked.seeds.split(",")]
    columns = {**COLUMNS, **RETRIEVAL}
    for world in asked.worlds.split(","):
        prepare(asked.folder, world)
        print(f"\n| {world} | {' | '.join(columns.values())} |\n|---{'|---' * len(columns)}|")
        controls: dict[str, Any] = {}
        for name in asked.recipes.split(","):
            runs = [learn(asked.folder, world, name, seed, asked.epochs) for seed in seeds]
            scores = scored(asked.folder, world, runs)
            found = scored(asked.folder, world, runs, "--benchmark", "retrieval")
            merged = [{**s["av"], **r["av"]} for s, r in zip(scores, found, strict=True)]
            print(row(name, merged, columns), flush=True)
            print(row(f"{name}, shuffled", [s["av_shuffled"] for s in scores], columns))
            controls = scores[0]
        for name in ("random_true_box", "saliency", "center"):
            print(row(name, [controls[name]], columns), flush=True)


if __name__ == "__main__":
    main()
