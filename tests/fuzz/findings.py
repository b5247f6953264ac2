"""What damaging files has found: each made by code, from a seed and edits, with how it ends now.

A finding of `make fuzz` is put here as `totals.json` says it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from .recipe import Recipe


@dataclass(frozen=True)
class Finding:
    """A damaged file that once went wrong.

    Attributes:
        was: What went wrong.
        made: The seed and the edits, as JSON has them.
        ends: Its outcome now: `done`, or a reason.
    """

    was: str
    made: dict[str, Any]
    ends: str

    @property
    def recipe(self) -> Recipe:
        """How it is made."""
        return Recipe.of_json(self.made)


FINDINGS = {
    "a PNG whose chunk says 2 GB": Finding(
        "oom: Pillow asked for memory for a chunk that is not there, and the clip was tried twice",
        {"seed": "png", "edits": [[33, 37, "7fffffff"]], "ask": {"do": "picture"}},
        "decode_error",
    ),
    "a Matroska file cut inside elements that changed places": Finding(
        "a length of -0.08 s: all packets left ended before the stream's own start",
        {
            "seed": "mkv-snow-alac",
            "edits": [
                [577, 43479, ["", 43366, 43479, 1], ["", 580, 43366, 1], ["", 577, 580, 1]],
                [29582, 55930],
            ],
            "ask": {"do": "duration"},
        },
        "done",
    ),
    "an FLV file whose tags changed places": Finding(
        "a length of -0.039 s",
        {
            "seed": "flv-flashsv2-nellymoser",
            "edits": [
                [2877, 2977, ["", 18293, 18393, 2]],
                [296, 4397, ["", 2377, 4397, 1], ["", 376, 2377, 1], ["", 296, 376, 1]],
            ],
            "ask": {"do": "duration"},
        },
        "done",
    ),
    "a Matroska block at an absurd time": Finding(
        "crashed: the same OverflowError",
        {
            "seed": "mkv-prores-wavpack",
            "edits": [[25813, 25814, "88"], [25814, 25816, "626169742e6d7034"]],
        },
        "no_audio",
    ),
    "a fragment that begins at an absurd time": Finding(
        "crashed: OverflowError, seeking to a time stamp beyond 64 bits",
        {
            "seed": "mp4-libx264-aac-frag_keyframe+empty_moov",
            "edits": [
                [4360, 4364, "000000e1"],
                [4404, 4408, "00000075"],
                [4412, 4424, "78" * 109],
            ],
        },
        "no_audio",
    ),
    "a MOV file of three hundred sounds": Finding(
        "a minute and more: each packet, of one byte, was chosen among all streams",
        {
            "seed": "mov-v210-pcm_s8",
            "edits": [
                [218975, 218976, "00"],
                [218229, 218233, "0000001a"],
                [1301, 1302, "20"],
                [219160, 219160, ["", 218543, 219160, 300]],
            ],
            "ask": {"start_s": 0.1, "seconds": 0.3},
        },
        "decode_error",
    ),
    "a MOV file of four thousand edits": Finding(
        "oom: FFmpeg took 2 GB that it never wrote into, and the clip was tried twice",
        {
            "seed": "mov-svq1-adpcm_ima_qt",
            "edits": [
                [17825, 17825, "0000001c75726c200000001475726c20"],
                [16758, 16762, "0000829f"],
                [16874, 16878, "00007f97"],
                [16974, 16978, "00007d24"],
                [16982, 16982, "00007d1c656c7374" * 4000],
                [49455, 49459, "00000040"],
            ],
        },
        "decode_error",
    ),
    "a MOV file whose sound is edited four thousand times": Finding(
        "timeout: one seek among 442,557 packets, made of 331, took minutes",
        {
            "seed": "mov-svq1-adpcm_ima_qt",
            "edits": [
                [16758, 16762, "000082a8"],
                [17537, 17541, "00007f9d"],
                [17637, 17641, "00007d24"],
                [17645, 17645, "00007d1c656c7374" * 4000],
            ],
        },
        "decode_error",
    ),
}
