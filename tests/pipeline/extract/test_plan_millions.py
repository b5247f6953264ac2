"""What makes planning quick changes nothing of what is planned."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from pathlib import Path

import pytest
from avpipe.cache.manifest import Manifest
from avpipe.cache.schema import canonical_json
from avpipe.cache.segment import Line, Segment, line_text
from avpipe.pipeline.extract.candidate import uncollected
from avpipe.pipeline.extract.lists import read_names
from avpipe.pipeline.extract.plain_paths import plain_sizes
from avpipe.pipeline.extract.plan import add_segment
from avpipe.pipeline.extract.scan import scan
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

TEXT = st.text(st.characters(exclude_categories=()))
SECONDS = st.none() | st.floats(0, allow_infinity=False)


def add(cache: Path, listed: Path) -> int:
    return add_segment(cache, scan([str(listed)]).candidates, remap={}, cut=iter, shard_clips=4)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(TEXT, st.integers(0), TEXT, st.integers(0), TEXT, TEXT | st.none(), SECONDS, SECONDS)
def test_a_line_has_the_bytes_of_its_canonical_json(
    clip_id: str,
    root: int,
    path: str,
    size: int,
    source: str,
    other: str | None,
    start_s: float | None,
    seconds: float | None,
) -> None:
    line = {
        "id": clip_id, "root": root, "path": path, "bytes": size, "source": source,
        "audio_path": other, "start_s": start_s, "seconds": seconds, "label": other,
        "detail": other,
    }  # fmt: skip
    given = {name: value for name, value in line.items() if value is not None}
    written = line_text(
        clip_id, root, path, size, source, other, start_s, seconds, label=other, detail=other
    )
    assert written == canonical_json(given)


def test_a_list_given_again_is_not_parsed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache, listed = tmp_path / "cache", tmp_path / "clips.txt"
    listed.write_text("".join(f"v/{number % 700:04d}.mp4\n" for number in range(1000)))
    assert add(cache, listed) == 700

    def parsed(self: Segment, start: int = 0, stop: int | None = None) -> Iterator[Line]:
        raise AssertionError("a line is parsed")

    with monkeypatch.context() as patched:
        patched.setattr(Segment, "lines", parsed)
        assert add(cache, listed) == 0


@pytest.mark.parametrize("step", [2, 7, 255, 256, 257, 700])
def test_new_clips_among_planned_ones_are_found(tmp_path: Path, step: int) -> None:
    cache, listed = tmp_path / "cache", tmp_path / "clips.txt"
    names = [f"v/{number:04d}.mp4" for number in range(1000)]
    new = names[::step]
    listed.write_text("\n".join(name for name in names if name not in new))
    assert add(cache, listed) == len(names) - len(new)
    listed.write_text("\n".join(names))
    assert add(cache, listed) == len(new)
    manifest = Manifest(cache)
    assert [line["path"] for line in manifest.segments[1].lines()] == new
    assert add(cache, listed) == 0
    listed.write_text("\n".join(new))
    assert add(cache, listed) == 0


def test_one_file_under_two_ids_keeps_both(tmp_path: Path) -> None:
    cache, table = tmp_path / "cache", tmp_path / "clips.csv"
    table.write_text("path,id\na/x.mp4,x\na/x.mp4,y\nb.mp4,b\n")
    assert add(cache, table) == 3
    table.write_text("path,id\na/x.mp4,x\na/x.mp4,z\nb.mp4,b\n")
    assert add(cache, table) == 1


def test_simple_paths_are_found_as_others_are(tmp_path: Path) -> None:
    for name in ("a.mp4", "b/c.mp4", "b/.hidden.mp4", "b/d.bin"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x" * 7)
    (tmp_path / "b/link.mp4").symlink_to("nowhere")
    names = [
        "a.mp4", "b/c.mp4", "b/.hidden.mp4", "b/d.bin", "b/gone.mp4", "b/link.mp4", "b", "b/",
        "./a.mp4", "b/../a.mp4", "b//c.mp4", str(tmp_path / "a.mp4"), "b/e\0.mp4", "a", "gone.mp4",
    ]  # fmt: skip
    assert dict(plain_sizes(names, str(tmp_path))) == {
        "a.mp4": 7, "b/c.mp4": 7, "b/.hidden.mp4": None, "b/d.bin": 7, "b/gone.mp4": 0,
        "b/link.mp4": 0, "b": None, "b/": None, "./a.mp4": None, "b/../a.mp4": None,
        "b//c.mp4": None, str(tmp_path / "a.mp4"): None, "b/e\0.mp4": None, "a": None,
        "gone.mp4": None,
    }  # fmt: skip
    unknown = dict.fromkeys(names)
    assert dict(plain_sizes(names, str(tmp_path / "none"))) == unknown | dict.fromkeys(
        ["b/c.mp4", "b/d.bin", "b/gone.mp4", "b/link.mp4"], 0
    )


def test_lines_of_a_list_may_end_in_any_way(tmp_path: Path) -> None:
    listed = tmp_path / "clips.txt"
    listed.write_bytes(b"\xef\xbb\xbfa.mp4\r\n\nb\rc.mp4\n\r\nd.mp4")
    assert list(read_names(str(listed))) == ["a.mp4", "b\rc.mp4", "d.mp4"]


def test_garbage_is_collected_again_afterwards() -> None:
    with pytest.raises(KeyError), uncollected(), uncollected():
        assert not gc.isenabled()
        raise KeyError
    assert gc.isenabled()
