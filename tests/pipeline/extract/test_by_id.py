"""A clip's file is found by the names that VGGSound's own files and other downloaders give it."""

from pathlib import Path

import pytest
from avpipe.errors import InputError
from avpipe.pipeline.extract.by_id import cut_id
from avpipe.pipeline.extract.candidate import Candidate
from avpipe.pipeline.extract.scan import scan

VIDEO = "hpDY7u8B8hE"
ODD_VIDEOS = ["12345678901", "-_-_-_-_-_-", "a_000030_40", "00000000_30", "_30000_4000"]
"""YouTube's ids may hold `_` and `-`, look like numbers, and like names of cut files."""


def touch(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"x")
    return folder


def listed(folder: Path, *lines: str, name: str = "vggsound.csv") -> str:
    (folder / name).write_text("".join(f"{line}\n" for line in lines))
    return str(folder / name)


def only(listing: str, root: Path | None = None) -> Candidate:
    (clip,) = scan([listing], root=None if root is None else str(root)).candidates
    return clip


@pytest.mark.parametrize(
    ("stem", "start"),
    [
        ("_000005", 5),
        ("_5", 5),
        ("_0", 0),
        ("_5000_15000", 5),
        ("_0_10000", 0),
        ("_0_10", 0),
        ("_5_15", 5),
        ("_000005_000015", 5),
        ("_5.000_15.000", 5),
        ("_5_12", 5),  # shorter than 10 s, at the end of a video
        ("_5000_11250", 5),
        ("_30000_40000", 30),
        ("_30000", 30_000),  # one number alone is seconds
        ("_30000_30010", 30_000),  # 10 s, not 10 ms
        ("_10000_10200", 10),
        ("_5.5_15.5", None),
        ("_5500_15500", None),  # VGGSound's starts are whole seconds
        ("_5_16", None),
        ("_5_5", None),
        ("_15_5", None),
        ("_5_190", None),
        ("_5000_15001", None),
        ("", None),
        ("_", None),
        ("_5_", None),
        ("_5_15_25", None),
        ("_-5_5", None),
        ("_5_15_copy", None),
        ("-5", None),
    ],
)
def test_what_a_name_says(stem: str, start: int | None) -> None:
    for video in (VIDEO, *ODD_VIDEOS):
        assert cut_id(video + stem) == (None if start is None else f"{video}_{start:06d}")


def test_a_video_that_looks_like_a_cut_file_is_none() -> None:
    assert [cut_id(video) for video in ODD_VIDEOS] == [None] * len(ODD_VIDEOS)


@pytest.mark.parametrize("video", [VIDEO, *ODD_VIDEOS])
@pytest.mark.parametrize("name", ["{}_5000_15000", "{}_5", "{}_5_15", "{}_000005", "{}_5.0_15.0"])
@pytest.mark.parametrize("deep", ["", "train/dog barking/"])
def test_cut_files_beside_vggsounds_csv(tmp_path: Path, video: str, name: str, deep: str) -> None:
    path = deep + name.format(video) + ".mp4"
    touch(tmp_path, path, f"{video}.mp4", f"{video}_105000_115000.mp4", f"{video}_50_60.mp4")
    clip = only(listed(tmp_path, f"{video},5,dog barking,train"))
    assert (clip.id, clip.path, clip.bytes) == (f"{video}_000005", path, 1)
    assert (clip.source, clip.label) == (video, "dog barking")
    assert (clip.start_s, clip.seconds, clip.detail) == (None, None, None)  # it is cut already


@pytest.mark.parametrize("video", [VIDEO, *ODD_VIDEOS])
def test_a_whole_video_is_cut_where_no_cut_file_is(tmp_path: Path, video: str) -> None:
    touch(tmp_path, f"{video}.webm", f"{video}_105000_115000.mp4")
    clip = only(listed(tmp_path, f"{video},5,dog,train"))
    assert (clip.id, clip.path) == (f"{video}_000005", f"{video}.webm")
    assert (clip.start_s, clip.seconds, clip.source) == (5.0, 10.0, video)


def test_the_clips_own_name_comes_first(tmp_path: Path) -> None:
    touch(tmp_path, *(f"{VIDEO}{end}.mp4" for end in ("_000005", "_5000_15000", "_5_15", "")))
    assert only(listed(tmp_path, f"{VIDEO},5,dog,train")).path == f"{VIDEO}_000005.mp4"


@pytest.mark.parametrize(
    "names",
    [("_5000_15000", "_5_15"), ("_5", "_5_15"), ("_000005_000015", "_5"), ("_5_15", "_5_14")],
)
def test_two_files_cut_to_one_clip_stop_the_run_in_one_line(
    tmp_path: Path, names: tuple[str, str]
) -> None:
    touch(tmp_path, *(f"{VIDEO}{name}.mp4" for name in names))
    with pytest.raises(InputError) as caught:
        scan([listed(tmp_path, f"{VIDEO},5,dog,train")])
    told = str(caught.value)
    assert all(f"{VIDEO}{name}.mp4" in told for name in names)
    assert f"rename the right one to {VIDEO}_000005" in told and "\n" not in told
    touch(tmp_path, f"{VIDEO}_000005.mp4")  # as it says
    assert only(listed(tmp_path, f"{VIDEO},5,dog,train")).path == f"{VIDEO}_000005.mp4"


def test_one_video_with_many_starts_is_kept_apart(tmp_path: Path) -> None:
    starts = [0, 1, 10, 100, 1000, 10_000]
    touch(tmp_path, *(f"{VIDEO}_{start * 1000}_{start * 1000 + 10_000}.mp4" for start in starts))
    lines = [f"{VIDEO},{start},dog,train" for start in starts]
    found = {clip.id: clip.path for clip in scan([listed(tmp_path, *lines)]).candidates}
    assert found == {
        f"{VIDEO}_{start:06d}": f"{VIDEO}_{start * 1000}_{start * 1000 + 10_000}.mp4"
        for start in starts
    }


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("ids.txt", f"{VIDEO}_000005"),
        ("vggss_test.csv", f"{VIDEO}_000005"),
        ("files.csv", f"{VIDEO}_000005.mp4,dog"),
        ("table.csv", f"id,label\n{VIDEO}_000005,dog"),
    ],
)
def test_other_lists_of_vggsounds_ids_find_cut_files_too(
    tmp_path: Path, name: str, line: str
) -> None:
    touch(tmp_path, f"v/{VIDEO}_5000_15000.mp4", f"v/{VIDEO}.mp4")
    clip = only(listed(tmp_path, line, name=name))
    assert (clip.id, clip.path) == (f"{VIDEO}_000005", f"v/{VIDEO}_5000_15000.mp4")
    assert clip.source == clip.id


def test_pictures_with_sounds_are_found_by_such_names_too(tmp_path: Path) -> None:
    touch(tmp_path, f"frames/{VIDEO}_5000_15000.jpg", f"audio/{VIDEO}_5000_15000.wav")
    clip = only(listed(tmp_path, f"{VIDEO},5,dog,train"))
    assert (clip.id, clip.audio_path) == (f"{VIDEO}_000005", f"audio/{VIDEO}_5000_15000.wav")


def test_what_is_not_found_says_what_was_looked_for_and_what_comes_near(tmp_path: Path) -> None:
    touch(tmp_path, f"{VIDEO}_30500_40500.mp4", "dog_1.mp4")
    names = f"{VIDEO}_000005, {VIDEO}_5000_15000, {VIDEO}_5_15, {VIDEO}_5 or {VIDEO}"
    clip = only(listed(tmp_path, f"{VIDEO},5,dog,train"))
    assert (clip.path, clip.bytes) == (f"{VIDEO}_000005.mp4", 0)
    assert clip.detail == f"no video is named {names}; there is {VIDEO}_30500_40500.mp4"
    clip = only(listed(tmp_path, "dog", name="ids.txt"))
    assert clip.detail == "no video or picture is named dog; there is dog_1.mp4"
    assert only(listed(tmp_path, "cat", name="ids.txt")).detail == (
        "no video or picture is named cat"
    )


def test_a_stem_in_several_folders_is_the_first_by_path_and_said_so(tmp_path: Path) -> None:
    touch(tmp_path, "b/dog.mp4", "a/dog.mp4", "a/cat.mp4", "c/cat.webm", "bird.mp4", "x/bird.mp4")
    found = scan([listed(tmp_path, "dog", "cat", name="ids.txt")])
    assert [clip.path for clip in found.candidates] == ["a/cat.mp4", "a/dog.mp4"]
    (notice,) = found.notices  # the bird is not asked for
    assert notice.endswith(
        "ids.txt: 2 ids have several files, the first by path is taken: "
        "dog is a/dog.mp4, not b/dog.mp4"
    )
