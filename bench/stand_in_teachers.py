"""Teachers of a synthetic world: DETR's backbone and PANNs' last layers, learnt from its labels.

The published teachers know real pictures and sounds, random ones know nothing; neither can show on
synthetic clips whether hints help. These can: they have the published shape and have seen the
labels of the training clips. They are stand-ins, and the folder and the files say so.

    python bench/stand_in_teachers.py WORLD CACHE OUT
    avpipe embed-teachers --audio panns-cnn14 --weights detr-r50=OUT --weights panns-cnn14=OUT
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
import transformers
from avpipe import Cache
from avpipe.stages.synth.scenes import SynthClip, plan_clips
from avpipe.stages.synth.world import draw_classes
from avpipe.stages.teachers.audio import panns_cnn14
from avpipe.stages.teachers.nets.cnn14 import Cnn14
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F

CROP_PX = 96
"""About an object's side, with its surroundings, in the 224 px that DETR is shown."""
MARGIN = 0.15
NUM_STEPS = 320
SCALE = 16.0
"""Of cosines before the softmax of the audio teacher."""
NOISE = 0.3
"""Added to what its layers are given, whose deviation is 1: 800 sounds would be learnt by heart."""
BATCH = 32
MEAN = torch.tensor([0.485, 0.456, 0.406])[:, None, None] * 255
STD = torch.tensor([0.229, 0.224, 0.225])[:, None, None] * 255


def main(world: Path, cache_dir: Path, out: Path) -> None:
    """Train both on the world's training clips and write them to `out`."""
    out.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    cache = Cache(cache_dir)
    plan = [clip for clip in planned(world) if clip.split == "train" and clip.clip_id in cache.ids]
    print(f"{len(plan)} training clips; visual teacher, {NUM_STEPS} steps", flush=True)
    write_detr(train_backbone(cache, plan), out / "detr-resnet-50")
    print("audio teacher", flush=True)
    torch.save({"model": train_panns(cache, plan)}, out / panns_cnn14.FILES[0].name)
    (out / "STAND-IN.txt").write_text(
        f"Trained on the labels of the synthetic world {world.name}; not the published weights.\n"
    )


def planned(world: Path) -> Sequence[SynthClip]:
    """Return the plan of a world: it knows the boxes of training clips too."""
    made = json.loads((world / "world.json").read_text())
    classes = draw_classes(made["seed"], made["classes"])
    low, high = made["size"]
    return plan_clips(
        made["seed"],
        classes,
        num_train=made["clips"],
        num_objects=made["objects"],
        size=(low, high),
    )


def train_backbone(cache: Cache, plan: Sequence[SynthClip]) -> nn.Module:
    """Train a ResNet-50 on cut-out objects, every other one moved off to show background."""
    config = transformers.ResNetConfig(out_features=["stage4"])
    backbone = transformers.ResNetBackbone(config).to(memory_format=torch.channels_last)
    num_classes = 1 + max(thing.class_index for clip in plan for thing in clip.objects)
    head = nn.Linear(2048, num_classes)
    frames = {clip.clip_id: cache.clip(clip.clip_id).frame for clip in plan}
    parameters = [*backbone.parameters(), *head.parameters()]
    optimizer = torch.optim.AdamW(parameters, 5e-4, weight_decay=1e-2)
    backbone.train()
    for step, (crops, labels) in enumerate(object_batches(frames, plan)):
        with torch.autocast("cpu", torch.bfloat16):
            features = backbone(crops.to(memory_format=torch.channels_last)).feature_maps[0]
        loss = F.cross_entropy(head(features.float().mean((2, 3))), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step % 40 == 0 or step == NUM_STEPS - 1:
            print(f"step {step} loss {loss.item():.3f}", flush=True)
    return backbone


def object_batches(
    frames: dict[str, NDArray[np.uint8]], plan: Sequence[SynthClip]
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield `(BATCH, 3, CROP_PX, CROP_PX)` normalised crops around objects, and their classes."""
    rng = np.random.default_rng(0)
    things = [(clip.clip_id, thing) for clip in plan for thing in clip.objects]
    for _ in range(NUM_STEPS):
        crops, labels = [], []
        for number in rng.integers(len(things), size=BATCH).tolist():
            name, thing = things[number]
            x1, y1, x2, y2 = thing.box_px
            reach = [MARGIN * (x2 - x1), MARGIN * (y2 - y1)] * 2
            box = np.array([x1, y1, x2, y2]) + np.array([-1, -1, 1, 1]) * reach
            box = box + rng.normal(0, 0.05, 4) * (x2 - x1)
            picture = Image.fromarray(frames[name])
            crop = picture.resize((CROP_PX, CROP_PX), Image.Resampling.BILINEAR,
                                  tuple(np.clip(box, 0, picture.size[0])))  # fmt: skip
            pixels = np.asarray(crop)[:, :: rng.choice([-1, 1])].copy()
            crops.append((torch.from_numpy(pixels).permute(2, 0, 1) - MEAN) / STD)
            labels.append(thing.class_index)
        yield torch.stack(crops), torch.tensor(labels)


def write_detr(backbone: nn.Module, folder: Path) -> None:
    """Write a DETR-R50 with this backbone; all behind it is random."""
    config = transformers.DetrConfig(
        use_timm_backbone=False,
        use_pretrained_backbone=False,
        backbone=None,
        backbone_config=transformers.ResNetConfig(out_features=["stage4"]),
        num_labels=91,
    )
    model = transformers.DetrForObjectDetection(config)
    own = {name: value for name, value in backbone.state_dict().items()
           if not name.endswith("num_batches_tracked")}  # fmt: skip
    model.model.backbone.model.load_state_dict(own, strict=True)
    model.save_pretrained(folder)


def train_panns(cache: Cache, plan: Sequence[SynthClip]) -> dict[str, Tensor]:
    """Train Cnn14's two linear layers on the classes of sounds, behind random convolutions."""
    model = Cnn14().eval()
    pooled: list[Tensor] = []
    model.fc1.register_forward_pre_hook(lambda _, given: pooled.append(given[0]))
    with torch.inference_mode():
        for start in range(0, len(plan), 16):
            waveforms = [sound(cache, clip.clip_id) for clip in plan[start : start + 16]]
            model(torch.from_numpy(np.stack(waveforms)))
    inputs = torch.cat(pooled).clone()
    mean, scale = inputs.mean(0), inputs.std(0).mean()  # one scale: distances stay what they are
    inputs = (inputs - mean) / scale
    labels = torch.tensor([clip.sound_class for clip in plan])
    parameters = [*model.fc1.parameters(), model.fc_audioset.weight]
    optimizer = torch.optim.AdamW(parameters, 1e-3, weight_decay=1e-2)
    for step in range(400):
        chosen = torch.randint(len(plan), (64,))
        noisy = inputs[chosen] + NOISE * torch.randn(64, inputs.shape[1])
        embedding = F.relu(model.fc1(noisy))  # cosines: sounds of a class become neighbours
        logits = F.normalize(embedding) @ F.normalize(model.fc_audioset.weight).T
        loss = F.cross_entropy(SCALE * logits, labels[chosen])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step % 100 == 0 or step == 399:
            print(f"step {step} loss {loss.item():.3f}", flush=True)
    with torch.no_grad():  # the network itself is not standardised
        model.fc1.weight /= scale
        model.fc1.bias -= model.fc1.weight @ mean
    return model.state_dict()


def sound(cache: Cache, clip_id: str) -> NDArray[np.float32]:
    """Return the 3 s that the teacher hears."""
    clip = cache.clip(clip_id)
    if clip.waveform is None or clip.frame_sample is None:
        raise SystemExit(f"{cache.path} holds no sound of {clip_id}; extract again with audio")
    return panns_cnn14.prepare(clip.waveform, clip.frame_sample)


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:4]))
