"""What `claims.py` trains, by recipe and `--set`, and which of it is compared with what."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from common import changed, settings

SIGHT, HEARING = "mobilenet-v2-448", "efficientat-mn04"
CACHED = settings(
    f"image_encoder=cached:{SIGHT} audio_encoder=cached:{HEARING} image_pca=128 embed_dim=128 "
    "visual_dropout=0.3 audio_dropout=0.3 flip=0"
)
"""The features and heads of recipe `cached`, for recipes that train networks."""
SHORT = settings(
    "epochs=15 batch_size=64 optimizer=adamw lr=1e-3 weight_decay=1e-4 schedule=cosine"
)
EZ = settings("mean_shift=0 temperature=0.03")
"""Recipe `cached` on the features of the other recipes, with the paper's temperature."""
AVERAGED = ("ema=0.99", "test_weights=ema")
STUDENT_BATCH = 32
STUDENT = settings(
    "image_encoder=mobilenet-v2 image_init=imagenet image_size=128 image_resize=128 width=32 "
    "audio_pool=4 spectrogram_mean=-10 spectrogram_std=4 embed_dim=128 pooling=lse "
    f"batch_size={STUDENT_BATCH} optimizer=adamw lr=3e-4 weight_decay=1e-4 warmup_steps=20"
)
"""MobileNetV2 from ImageNet's weights at 128 px beside a narrow ResNet18 of sounds from scratch."""


class Arm(NamedTuple):
    """One way to learn.

    Attributes:
        recipe: A recipe.
        changes: Its `--set`. `{seed}` is the run's seed, `{runs[ARM]}` the folder of other runs.
        before: Commands that make what it reads beside features, without `--cache` and `--ids`.
        after: An arm whose runs these commands need.
        pretrained: Whether training itself takes the files of `--weights`.
    """

    recipe: str
    changes: tuple[str, ...] = ()
    before: tuple[str, ...] = ()
    after: str = ""
    pretrained: bool = False


class Claim(NamedTuple):
    """What is put to the test.

    Attributes:
        title: In words.
        arms: Names in `ARMS`.
        pairs: Which is held against which; the claim is that the first is better.
    """

    title: str
    arms: tuple[str, ...]
    pairs: tuple[tuple[str, str], ...]


POOLINGS = ("max", "mean", "lse")
KNN = "knn --k 10"
ALIKE = f"{KNN} --image {SIGHT} --audio {HEARING}"
REGION = f"{KNN} --audio none --image run:runs/{{runs[ez-lse]}}/seed{{seed}}"
SMALL_MAPS = "embed-teachers --visual mobilenet-v2 --audio none"
CLUSTERS = f"cluster --k {{k}} --encoder {HEARING}"


def _neighbours(image: str, audio: str) -> tuple[str, ...]:
    """Return the settings of two views, a clip's own and one of its ten neighbours'."""
    return settings(f"views=neighbour num_neighbors=10 image_neighbors={image} "
                    f"audio_neighbors={audio}")  # fmt: skip


def _promoted(k: int, *others: str) -> Arm:
    """Return sound promotion on cached features: its encoder of sounds is frozen as it stands."""
    changes = changed(
        (*CACHED, *SHORT, *AVERAGED),
        *("image_init=scratch", "audio_init=scratch", "last_stride=2"),
        *(f"clusters={HEARING}-k{k}", *others),
    )
    near = (f"{KNN} --image none --audio {HEARING}",) if others else ()
    return Arm("spm", changes, (CLUSTERS.format(k=k), *near))


_AUDIO_HINT = settings(f"hints=audio audio_teacher={HEARING} weights.audio_hint=192")
_VISUAL_HINT = settings("hints=visual visual_teacher=mobilenet-v2 weights.visual_hint=62720")
"""The paper's range: half of a sound's squared error, all of a frame's (terms are means)."""
_HINTS = {
    "none": (),
    "audio": _AUDIO_HINT,
    "audio-std": (*_AUDIO_HINT, "hint_scale=standard"),
    "visual": _VISUAL_HINT,
    "visual-std": (*_VISUAL_HINT, "hint_scale=standard"),
}

ARMS = {
    **{f"ez-{pooling}": Arm("cached", (*EZ, f"pooling={pooling}")) for pooling in POOLINGS},
    **{f"al-{pooling}": Arm("cached-alignment", (f"pooling={pooling}",)) for pooling in POOLINGS},
    "al-twice": Arm("cached-alignment", _neighbours("own", "own")),
    "al-sound": Arm("cached-alignment", _neighbours("own", HEARING), (ALIKE,)),
    "al-frame": Arm("cached-alignment", _neighbours(SIGHT, "own"), (ALIKE,)),
    "al-both": Arm("cached-alignment", _neighbours(SIGHT, HEARING), (ALIKE,)),
    "al-region": Arm(
        "cached-alignment",
        _neighbours("region-{runs[ez-lse]}-seed{seed}", "own"),
        (REGION,),
        "ez-lse",
    ),
    "al-region-sound": Arm(
        "cached-alignment",
        _neighbours("region-{runs[ez-lse]}-seed{seed}", HEARING),
        (ALIKE, REGION),
        "ez-lse",
    ),
    "slavc": Arm("cached-slavc"),
    "slavc-paper": Arm("cached-slavc", ("objective.form=paper",)),
    "slavc-m0": Arm("cached-slavc", ("momentum=0", "test_weights=online")),
    "slavc-m.999": Arm("cached-slavc", ("momentum=0.999", "test_weights=online")),
    "slavc-drop0": Arm("cached-slavc", ("visual_dropout=0",)),
    "slavc-drop.9": Arm("cached-slavc", ("visual_dropout=0.9",)),
    "ez-max-m.9": Arm(
        "cached", (*EZ, *settings("pooling=max momentum=0.9 ema=0 test_weights=momentum"))
    ),
    "ez-max-drop.9": Arm("cached", (*EZ, "pooling=max", "visual_dropout=0.9")),
    "spm": _promoted(10),
    "spm-k30": _promoted(30),
    "spm-nearest": _promoted(10, "partners=nearest", f"audio_neighbors={HEARING}"),
}

CLAIMS = {
    "a": Claim(
        "Alignment above EZ-VSL above chance, and how maps are pooled",
        (*(f"ez-{one}" for one in POOLINGS), *(f"al-{one}" for one in POOLINGS)),
        (
            ("al-mean", "ez-max"),
            *((f"al-{one}", f"ez-{one}") for one in POOLINGS),
            *((f"{of}-lse", f"{of}-{other}") for of in ("ez", "al") for other in ("max", "mean")),
        ),
    ),
    "b": Claim(
        "Neighbours as further positives (alignment, mean pooling)",
        ("al-mean", "al-twice", "al-sound", "al-frame", "al-both", "al-region", "al-region-sound"),
        (
            ("al-twice", "al-mean"),
            *((f"al-{one}", "al-twice")
              for one in ("sound", "frame", "both", "region", "region-sound")),
            ("al-region", "al-frame"),
            ("al-region-sound", "al-sound"),
        ),
    ),
    "c": Claim(
        "SLAVC above EZ-VSL where nothing in the picture sounds; its dropout and its momentum",
        ("ez-max", "ez-lse", "slavc", "slavc-paper", "slavc-m0", "slavc-m.999", "slavc-drop0",
         "slavc-drop.9", "ez-max-m.9", "ez-max-drop.9"),
        (
            ("slavc", "ez-max"), ("slavc-paper", "ez-max"), ("slavc", "ez-lse"),
            ("slavc", "slavc-m0"), ("slavc-m.999", "slavc-m0"), ("slavc", "slavc-drop0"),
            ("slavc-drop.9", "slavc-drop0"), ("ez-max-m.9", "ez-max"), ("ez-max-drop.9", "ez-max"),
        ),
    ),
    "e": Claim(
        "Sound promotion: pseudo-labels of sounds and a frozen encoder of sounds",
        ("ez-max", "spm", "spm-k30", "spm-nearest"),
        (("spm", "ez-max"), ("spm-k30", "spm"), ("spm-nearest", "spm")),
    ),
}  # fmt: skip


def students(budgets: Sequence[int], num_clips: int) -> tuple[dict[str, Arm], Claim]:
    """Return claim (d): a student with every hint and without, trained for several budgets.

    Args:
        budgets: Steps; each becomes whole epochs.
        num_clips: Clips trained on.
    """
    in_epoch = max(1, num_clips // STUDENT_BATCH)
    found, names, pairs = dict[str, Arm](), list[str](), list[tuple[str, str]]()
    for epochs in dict.fromkeys(max(1, round(steps / in_epoch)) for steps in budgets):
        called = {name: f"student-{name}-{epochs * in_epoch}" for name in _HINTS}
        for name, hints in _HINTS.items():
            changes = changed((*STUDENT, *AVERAGED), f"epochs={epochs}", *hints)
            maps = (SMALL_MAPS,) if "visual_teacher=mobilenet-v2" in hints else ()
            found[called[name]] = Arm("ez-vsl", changes, maps, pretrained=True)
        names += called.values()
        pairs += [(called[name], called["none"]) for name in _HINTS if name != "none"]
    return found, Claim("Hints help a student whose encoders train", tuple(names), tuple(pairs))
