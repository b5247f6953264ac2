"""`avpipe demo`: how far it goes, its stages, and how long they take here."""

from dataclasses import dataclass

from ...cache.defaults import VISUAL_TEACHER


@dataclass(frozen=True)
class Extent:
    """How far a demo goes.

    Attributes:
        clips: To learn from; the test has 30 % more.
        steps: Of training, at the default recipe's batch of 32.
        visual: The teacher that sees.
        audio: The teacher that hears.
        teach_passes: What both take with a clip, in passes of `threads.try_network`.
        taught: Clips that the teachers get; None: all, those of the test too.
    """

    clips: int
    steps: int
    visual: str
    audio: str
    teach_passes: float
    taught: int | None


SHORT = Extent(
    clips=480, steps=260, visual="mobilenet-v2", audio="efficientat-mn04", teach_passes=1.0,
    taught=32,
)  # fmt: skip
FULL = Extent(
    clips=1280, steps=550, visual=VISUAL_TEACHER, audio="panns-cnn14", teach_passes=3.8, taught=None
)
"""244 test clips have a trained class in the picture; 3.0 to 4.5 passes were measured."""
