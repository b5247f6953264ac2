"""Ways to damage a media file that know what it consists of, and some that do not."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from random import Random

from .pieces import Piece, pieces, walk
from .recipe import Edit

Path_ = tuple[Piece, ...]
Seeds = Mapping[str, bytes]

_NUMBERS = (0, 1, 2, 3, 7, 8, 0x10, 0x7F, 0x80, 0xFF, 0x100, 0x7FFF, 0x8000, 0xFFFF, 0x10000)
_NUMBERS += (0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 0x7FFFFFFFFFFFFFFF, 0xFFFFFFFFFFFFFFFF)
_NUMBERS += (0x40000000, 0x1FFFFFFF, 0x20000000, 0x55555555, 0x0FFFFFF0)
_KNOWN = re.compile(rb"[A-Za-z0-9]{4}")
_WORDS = (
    b"dref url alis rsrc cmov cmvd free skip moov trak elst stts ctts stsc stsz stz2 stco co64 "
    b"stss sbgp sgpd trun tfhd tfdt sidx senc saio saiz uuid meta keys ilst data avcC hvcC esds "
    b"enca encv sinf schm schi tenc pssh hint tmcd text sbtl c608 mp4s rtp  wave chan pasp colr "
    b"fiel gama clap tkhd mdhd hdlr vmhd smhd gmhd nmhd hmhd "
    b"idx1 indx JUNK strh strf strd strn vprp movi odml dmlh rec  LIST RIFF fmt  fact data bext "
    b"avc1 hvc1 hev1 mp4v vp08 vp09 av01 jpeg png  rle  SVQ1 SVQ3 rpza smc  cvid apcn raw  twos "
    b"sowt mp4a ac-3 ec-3 alac ima4 ulaw alaw samr .mp3 QDM2 fLaC Opus IHDR IDAT PLTE tRNS iCCP"
)
_NAMES = tuple(_WORDS[at : at + 4] for at in range(0, len(_WORDS), 5))
BAIT = "bait.mp4"
"""A real clip beside the input that nothing may open."""


def _texts(folder: str) -> tuple[bytes, ...]:
    bait = f"{folder}/{BAIT}"
    return tuple(
        text.encode()
        for text in (
            BAIT, bait, f"file:{bait}", f"file://{bait}", f"concat:{bait}|{bait}",
            f"subfile,,start,0,end,9,,:{bait}", f"crypto:{bait}", f"async:{bait}", f"cache:{bait}",
            f"data:text/plain,{bait}", "http://127.0.0.1:9/a.mp4", "tcp://127.0.0.1:9",
            f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{bait}\n#EXT-X-ENDLIST\n",
            f"#EXTM3U\n#EXT-X-KEY:METHOD=AES-128,URI=\"{bait}\"\n#EXTINF:1,\n{BAIT}\n",
            f"ffconcat version 1.0\nfile '{bait}'\n", f"[playlist]\nFile1={bait}\n",
            f"<MPD><Period><AdaptationSet><BaseURL>{bait}</BaseURL></AdaptationSet></Period></MPD>",
            f"v=0\no=- 0 0 IN IP4 127.0.0.1\nm=video 9 RTP/AVP 96\na=control:{bait}\n",
            f"RTSPtextRTSP://{bait}\r\n", f";FFMETADATA1\ntitle={bait}\n",
            f"<?xml version='1.0'?><!DOCTYPE a [<!ENTITY b SYSTEM 'file://{bait}'>]><a>&b;</a>",
        )
    )  # fmt: skip


class Mutator:
    """Chooses edits; the same ones for the same generator."""

    def __init__(self, random: Random, seeds: Seeds, folder: str) -> None:
        """Remember what to choose from.

        Args:
            random: Decides everything.
            seeds: Files from which pieces are taken, by name.
            folder: Where the bait lies.
        """
        self._random = random
        self._seeds = seeds
        self._names = sorted(seeds)
        self._texts = _texts(folder)

    def edits(self, data: bytes) -> list[Edit]:
        """Return what one damage does to a file: its edits, and those that make sizes right."""
        if not data:
            return [Edit(0, 0, (self._random.randbytes(16),))]
        tree = [] if self._random.random() < 0.25 else list(walk(pieces(data)))
        if not tree:
            return self._random.choice(_PLAIN)(self, data)
        path = self._random.choice(tree)
        if self._random.random() < 0.5:  # else nearly all were samples
            few = [one for one in tree if one[-1].end - one[-1].begin < 2000]
            path = self._random.choice(few or tree)
        return self._random.choice(_STRUCTURED)(self, data, path)

    def size(self, data: bytes, path: Path_) -> list[Edit]:
        """A piece that lies about its size."""
        piece = path[-1]
        begin, end = piece.size
        if begin == end:
            return self.number(data, path)
        right = piece.end - (piece.begin if piece.counts == "whole" else piece.body)
        near = right + self._random.choice((-8, -4, -2, -1, 1, 2, 4, 8, 9, 16))
        other = self._random.choice((*_NUMBERS, right * 2, right // 2, len(data)))
        return [Edit(begin, end, (_written(piece, self._random.choice((near, other))),))]

    def name(self, data: bytes, path: Path_) -> list[Edit]:
        """A piece that says it is another."""
        begin, end = path[-1].name
        if begin == end:
            return self.number(data, path)
        others = [one[-1].name for one in walk(pieces(data))]
        taken = self._random.choice(others)
        new: bytes = data[slice(*taken)]
        if end - begin == 4 and self._random.random() < 0.5:
            new = self._random.choice(_NAMES)
        if end - begin < 3 and self._random.random() < 0.5:
            new = self._random.randbytes(end - begin)
        return [Edit(begin, end, (new,))]

    def number(self, data: bytes, path: Path_) -> list[Edit]:
        """A number in a piece's content that becomes another."""
        piece = path[-1]
        width = self._random.choice((1, 2, 4, 4, 8))
        room = piece.end - piece.body - width
        if room < 0:
            return self.flip(data)
        reach = min(room, 96) if self._random.random() < 0.7 else room
        step = self._random.choice((1, width))
        at = piece.body + self._random.randint(0, reach) // step * step
        value = self._random.choice((*_NUMBERS, self._random.getrandbits(8 * width)))
        order = self._random.choice(("big", "big", "little"))
        new = (value % (1 << 8 * width)).to_bytes(width, order)  # type: ignore[arg-type]
        return [Edit(at, at + width, (new,))]

    def twice(self, data: bytes, path: Path_) -> list[Edit]:
        """A piece that comes several times."""
        piece = path[-1]
        times = self._random.choice((1, 1, 1, 2, 10, 300))
        edit = Edit(piece.end, piece.end, (("", piece.begin, piece.end, times),))
        return [*self._fixed(data, path[:-1], times * (piece.end - piece.begin)), edit]

    def gone(self, data: bytes, path: Path_) -> list[Edit]:
        """A piece that is not there."""
        piece = path[-1]
        return [
            *self._fixed(data, path[:-1], piece.begin - piece.end),
            Edit(piece.begin, piece.end),
        ]

    def swapped(self, data: bytes, path: Path_) -> list[Edit]:
        """Two neighbours in the other order, or two pieces at each other's place."""
        among = path[-2].inside if len(path) > 1 else pieces(data)
        one, other = sorted(self._random.choices(among, k=2), key=lambda piece: piece.begin)
        if one.end > other.begin:
            return self.twice(data, path)
        parts = (("", other.begin, other.end, 1), ("", one.end, other.begin, 1))
        return [Edit(one.begin, other.end, (*parts, ("", one.begin, one.end, 1)))]

    def shorter(self, data: bytes, path: Path_) -> list[Edit]:
        """A piece whose content ends too early."""
        piece = path[-1]
        keep = self._random.randint(0, max(piece.end - piece.body, 0))
        lost = piece.end - piece.body - keep
        return [*self._fixed(data, path, -lost), Edit(piece.body + keep, piece.end)]

    def longer(self, data: bytes, path: Path_) -> list[Edit]:
        """A piece with more content than it should have."""
        piece = path[-1]
        at = self._random.choice((piece.body, piece.end))
        more = self._random.randbytes(self._random.choice((1, 2, 4, 8, 60, 1000)))
        if self._random.random() < 0.3:
            more = bytes(len(more))
        return [*self._fixed(data, path, len(more)), Edit(at, at, (more,))]

    def nested(self, data: bytes, path: Path_) -> list[Edit]:
        """A piece in itself, many times."""
        piece = path[-1]
        depth = self._random.choice((1, 2, 20, 500, 4000))
        head = data[piece.begin : piece.body]
        if piece.counts != "whole" or not head:
            edit = Edit(piece.begin, piece.begin, (head * min(depth, 2000),))
            return [*self._fixed(data, path, len(head) * min(depth, 2000)), edit]
        size = piece.end - piece.begin
        heads = b"".join(
            (size + 8 * up).to_bytes(4, "big") + head[4:8] for up in range(depth, 0, -1)
        )
        fixed = self._fixed(data, path[:-1], len(heads))
        return [*fixed, Edit(piece.begin, piece.begin, (heads,))]

    def foreign(self, data: bytes, path: Path_) -> list[Edit]:
        """A piece of another file, or its content, at a piece's place."""
        piece, name = path[-1], self._random.choice(self._names)
        others = list(walk(pieces(self._seeds[name])))
        if not others:
            return self.name(data, path)
        kind = data[slice(*piece.name)]
        same = [o for o in others if self._seeds[name][slice(*o[-1].name)] == kind]
        other = self._random.choice(same or others)[-1]
        if same and self._random.random() < 0.7:
            more = (other.end - other.body) - (piece.end - piece.body)
            edit = Edit(piece.body, piece.end, ((name, other.body, other.end, 1),))
            return [*self._fixed(data, path, more), edit]
        more = (other.end - other.begin) - (piece.end - piece.begin)
        edit = Edit(piece.begin, piece.end, ((name, other.begin, other.end, 1),))
        return [*self._fixed(data, path[:-1], more), edit]

    def reference(self, data: bytes, path: Path_) -> list[Edit]:
        """A text that leads elsewhere, as a piece's content; of MP4's `dref` a whole entry."""
        text = self._random.choice(self._texts)
        drefs = [one for one in walk(pieces(data)) if data[slice(*one[-1].name)] == b"dref"]
        if drefs and self._random.random() < 0.7:
            path = self._random.choice(drefs)
            kind = self._random.choice((b"url ", b"alis", b"rsrc"))
            alias = bytes(6) + b"\0\0" + bytes(142) + b"\0\2" + len(text).to_bytes(2, "big") + text
            entry = bytes(4) + (text + b"\0" if kind == b"url " else alias)
            entry = (len(entry) + 8).to_bytes(4, "big") + kind + entry
            new = bytes(4) + b"\0\0\0\1" + entry
        else:
            new = text
        piece = path[-1]
        edit = Edit(piece.body, piece.end, (new,))
        return [*self._fixed(data, path, len(new) - (piece.end - piece.body)), edit]

    def flip(self, data: bytes) -> list[Edit]:
        """Bits that fall over."""
        reach = self._random.choice((len(data), min(len(data), 2000)))
        found = []
        for _ in range(self._random.choice((1, 1, 2, 5, 20))):
            at = self._random.randrange(reach)
            found.append(Edit(at, at + 1, (bytes([data[at] ^ 1 << self._random.randrange(8)]),)))
        return found

    def noise(self, data: bytes) -> list[Edit]:
        """A stretch of noise, or of one byte."""
        at, length = self._random.randrange(len(data)), self._random.choice((1, 4, 16, 200, 4000))
        end = min(at + length, len(data))
        kinds = (bytes(end - at), b"\xff" * (end - at), self._random.randbytes(min(end - at, 512)))
        return [Edit(at, end, (self._random.choice(kinds),))]

    def cut(self, data: bytes) -> list[Edit]:
        """A file that ends too early, or begins too late, or lacks a stretch."""
        one, other = sorted(self._random.randrange(len(data) + 1) for _ in range(2))
        ways = (Edit(other, len(data)), Edit(0, one), Edit(one, min(other, one + 5000)))
        return [self._random.choice((*ways, ways[0]))]

    def moved(self, data: bytes) -> list[Edit]:
        """A stretch that comes once more elsewhere."""
        begin, at = self._random.randrange(len(data)), self._random.randrange(len(data))
        end = min(begin + self._random.choice((1, 8, 100, 3000)), len(data))
        over = at + self._random.choice((0, end - begin))
        return [Edit(at, over, (("", begin, end, self._random.choice((1, 1, 2, 50))),))]

    def spliced(self, data: bytes) -> list[Edit]:
        """The beginning of this file and the end of another."""
        name = self._random.choice(self._names)
        other = self._seeds[name]
        share = self._random.random()
        at, there = int(len(data) * share), int(len(other) * share)
        return [Edit(at, len(data), ((name, there, len(other), 1),))]

    def told(self, data: bytes) -> list[Edit]:
        """A text that leads elsewhere before the file, or instead of it."""
        text = self._random.choice(self._texts)
        return [Edit(0, self._random.choice((0, len(data), min(len(text), len(data)))), (text,))]

    def _fixed(self, data: bytes, path: Path_, more: int) -> list[Edit]:
        """Return edits that make the sizes of pieces right, mostly: else they lie."""
        if self._random.random() < 0.25:
            return []
        found = []
        for piece in path:
            begin, end = piece.size
            if begin < end and piece.counts != "none":
                right = piece.end - (piece.begin if piece.counts == "whole" else piece.body)
                found.append(Edit(begin, end, (_written(piece, max(right + more, 0)),)))
        return found


def _written(piece: Piece, value: int) -> bytes:
    """Return a size as a piece writes it, in as many bytes as it had."""
    width = piece.size[1] - piece.size[0]
    if piece.counts == "ebml":
        digits = 7 * width
        return (value % (1 << digits) | 1 << digits).to_bytes(width, "big")
    return (value % (1 << 8 * width)).to_bytes(width, piece.order)


_PLAIN: tuple[Callable[[Mutator, bytes], list[Edit]], ...] = (
    Mutator.flip, Mutator.flip, Mutator.noise, Mutator.cut, Mutator.moved, Mutator.spliced,
    Mutator.told,
)  # fmt: skip
_STRUCTURED: tuple[Callable[[Mutator, bytes, Path_], list[Edit]], ...] = (
    Mutator.size, Mutator.size, Mutator.name, Mutator.number, Mutator.number, Mutator.number,
    Mutator.twice, Mutator.gone, Mutator.swapped, Mutator.shorter, Mutator.longer, Mutator.nested,
    Mutator.foreign, Mutator.reference,
)  # fmt: skip
