"""What the user names becomes candidates: folders, files, lists, CSVs, the peers' layouts."""

import errno
import os
import socket
import stat
import sys
from collections.abc import Callable, Iterator
from dataclasses import astuple
from pathlib import Path
from typing import Any

import pytest
from avpipe.errors import CacheUnwritableError, InputError, Reason, UsageError
from avpipe.pipeline.extract.candidate import Candidate
from avpipe.pipeline.extract.folders import make_films_folder
from avpipe.pipeline.extract.scan import Scan, scan
from avpipe.pipeline.id_lists import read_ids


def touch(path: Path, size: int = 1) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x" * size)
    return path


def paths(found: Scan) -> list[str]:
    return [clip.path for clip in found.candidates]


def only(found: Scan) -> Candidate:
    (clip,) = found.candidates
    return clip


# --- folders ---


def test_folder_takes_videos_below_it_and_counts_the_rest(tmp_path: Path) -> None:
    suffixes = ["mp4", "m4v", "mov", "webm", "mkv", "avi", "flv", "ts", "mpg", "3gp", "ogv"]
    for suffix in suffixes:
        touch(tmp_path / "deep" / suffix / f"a{suffix}.{suffix.upper()}", size=7)
    for other in ("SOURCES.md", "notes.MD", "deep/a.wav", "README"):
        touch(tmp_path / other)
    found = scan([str(tmp_path)])
    assert sorted(clip.id for clip in found.candidates) == sorted(f"a{s}" for s in suffixes)
    assert {(clip.root, clip.bytes) for clip in found.candidates} == {(str(tmp_path), 7)}
    assert found.ignored == {"": 1, ".md": 2, ".wav": 1}


def test_hidden_files_and_folders_are_left_alone(tmp_path: Path) -> None:
    for name in ("a.mp4", "._a.mp4", ".cache/b.mp4"):
        touch(tmp_path / name)
    found = scan([str(tmp_path)])
    assert paths(found) == ["a.mp4"]
    assert found.ignored == {"(hidden)": 1}


def test_films_by_avpipe_are_no_clips(tmp_path: Path) -> None:
    made, own = tmp_path / "films", tmp_path / "mine"
    own.mkdir()
    for folder in (made, own):
        make_films_folder(folder)
        (folder / "a.mp4").touch()
    found = scan([str(tmp_path)])
    assert [clip.path for clip in found.candidates] == ["mine/a.mp4"]
    assert found.ignored == {"(folder of films by avpipe)": 1}


@pytest.mark.parametrize("call", ["mkdir", "touch", "rename"])
def test_a_folder_of_films_is_marked_or_not_there(
    call: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path, *_: object, **__: object) -> None:
        raise OSError(errno.EIO, "Input/output error", str(path))

    with monkeypatch.context() as patch:
        patch.setattr(Path, call, refuse)
        with pytest.raises(CacheUnwritableError, match="films"):
            make_films_folder(tmp_path / "films")
    assert list(tmp_path.iterdir()) == []
    make_films_folder(tmp_path / "films")
    touch(tmp_path / "films" / "a.mp4")
    touch(tmp_path / "own.mp4")
    assert paths(scan([str(tmp_path)])) == ["own.mp4"]


def test_a_hidden_folder_named_itself_is_searched(tmp_path: Path) -> None:
    touch(tmp_path / ".data" / "a.mp4")
    assert paths(scan([str(tmp_path / ".data")])) == ["a.mp4"]


def test_link_loops_end_and_a_linked_folder_is_searched_once(tmp_path: Path) -> None:
    touch(tmp_path / "z" / "a.mp4")
    outside = touch(tmp_path / "outside" / "b.mp4").parent
    root = tmp_path / "z"
    (root / "self").symlink_to(root)
    (root / "up").symlink_to(tmp_path)
    (root / "one").symlink_to(outside)
    (root / "two").symlink_to(outside)
    assert paths(scan([str(root)])) == ["a.mp4", "one/b.mp4"]


def test_a_new_link_to_a_folder_renames_no_clip(tmp_path: Path) -> None:
    touch(tmp_path / "z" / "a.mp4")
    before = paths(scan([str(tmp_path)]))
    (tmp_path / "a-link").symlink_to(tmp_path / "z")
    assert paths(scan([str(tmp_path)])) == before == ["z/a.mp4"]


def test_broken_links_stay_candidates_and_special_files_do_not(tmp_path: Path) -> None:
    (tmp_path / "gone.mp4").symlink_to(tmp_path / "nowhere")
    (tmp_path / "loop.mp4").symlink_to(tmp_path / "loop.mp4")
    os.mkfifo(tmp_path / "pipe.mp4")
    found = scan([str(tmp_path)])
    assert [(clip.path, clip.bytes) for clip in found.candidates] == [
        ("gone.mp4", 0),
        ("loop.mp4", 0),
    ]
    assert found.ignored == {"(not a file)": 1}


def test_unreadable_subfolder_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    locked = touch(tmp_path / "locked" / "a.mp4").parent
    real = os.scandir

    def refuse(path: str) -> Iterator[os.DirEntry[str]]:
        if Path(path) == locked:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)
        return real(path)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(InputError, match=r"locked.*Permission denied") as caught:
        scan([str(tmp_path)])
    assert "\n" not in str(caught.value)


def test_order_is_by_path_bytes_whatever_the_roots(tmp_path: Path) -> None:
    names = ["B.mp4", "a.mp4", "a/b.mp4", "é.mp4", "\U0001f600.mp4", "\udcff.mp4"]
    for index, name in enumerate(names):
        touch(tmp_path / str(index % 2) / name)
    found = paths(scan([str(tmp_path / "1"), str(tmp_path / "0")]))
    assert found == sorted(names, key=os.fsencode)
    assert found != sorted(names)  # the escaped byte sorts as its byte, after every character


NAMES = {
    "unicode": "видео-映像.mp4",
    "spaces": "  two  spaces .mp4",
    "newline": "line\nbreak.mp4",
    "leading dash": "-rf.mp4",
    "255 bytes": "n" * 251 + ".mp4",
    "not UTF-8": os.fsdecode(b"caf\xe9\xff.mp4"),
    "dots": "...a..mp4",
}


@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES.keys())
def test_names_survive(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    file = touch(tmp_path / "videos" / name, size=3)
    monkeypatch.chdir(file.parent)
    explicit = only(scan([name]))
    assert (explicit.root, explicit.path, explicit.bytes) == (str(file.parent), name, 3)
    assert explicit.id == name.removesuffix(".mp4")
    if not name.startswith("."):
        assert only(scan([str(file.parent)])) == explicit


# --- the peers' layout ---


def test_frames_beside_audio(tmp_path: Path) -> None:
    for name in ("frames/a.jpg", "frames/b.jpg", "frames/c.png", "audio/a.wav", "audio/b.txt"):
        touch(tmp_path / "test" / name)
    found = scan([str(tmp_path)])
    # b has no sound: it stays a candidate, and fails as missing.
    assert [(clip.id, clip.path, clip.audio_path) for clip in found.candidates] == [
        ("a", "test/frames/a.jpg", "test/audio/a.wav"),
        ("b", "test/frames/b.jpg", "test/audio/b.wav"),
    ]
    assert found.ignored == {".png": 1, ".txt": 1}


def test_sounds_without_a_picture_are_counted_and_named(tmp_path: Path) -> None:
    for name in ("frames/a.jpg", "frames/c.png", "audio/a.wav", "audio/b.wav", "audio/c.wav"):
        touch(tmp_path / "test" / name)
    for name in ("more/frames/a.jpg", "more/audio/a.wav", "more/audio/deep/d.wav"):
        touch(tmp_path / name)
    found = scan([str(tmp_path)])
    assert paths(found) == ["more/frames/a.jpg", "test/frames/a.jpg"]
    assert found.ignored == {".png": 1, ".wav": 3}
    told = "2 sounds have no picture in frames: test/audio/b.wav, test/audio/c.wav"
    assert found.notices == [f"{tmp_path}: {told}"]
    for number in range(9):
        touch(tmp_path / "test" / "audio" / f"z{number}.wav")
    (notice,) = scan([str(tmp_path)]).notices
    assert notice.endswith("11 sounds have no picture in frames: test/audio/b.wav, "
                           "test/audio/c.wav, test/audio/z0.wav and 8 more")  # fmt: skip
    (tmp_path / "test" / "frames" / "a.jpg").unlink()
    with pytest.raises(InputError, match=r"no clips found \(left alone: 1 \.png, 12 \.wav\)"):
        scan([str(tmp_path / "test")])


def test_frames_cut_from_videos_beside_them_are_left_alone(tmp_path: Path) -> None:
    for name in ("vgg/frames/a.jpg", "vgg/audio/a.wav", "vgg/video/a.mp4"):
        touch(tmp_path / name)
    for name in ("flickr/frames/b.jpg", "flickr/audio/b.wav"):
        touch(tmp_path / name)
    found = scan([str(tmp_path)])
    assert paths(found) == ["flickr/frames/b.jpg", "vgg/video/a.mp4"]
    assert (found.ignored, found.notices) == ({".jpg": 1, ".wav": 1}, [])


def test_avsbench_has_five_frames_for_a_sound(tmp_path: Path) -> None:
    """S4 has its classes among the sounds as well, MS3 splits among the sounds alone."""
    for number in range(1, 6):
        touch(tmp_path / f"s4/visual_frames/test/dog/vid_a/vid_a_{number}.png")
        touch(tmp_path / f"s4/gt_masks/test/dog/vid_a/vid_a_{number}.png")
        touch(tmp_path / f"ms3/visual_frames/vid_b_2/vid_b_2.mp4_{number}.png")
    touch(tmp_path / "s4/audio_wav/test/dog/vid_a.wav")
    touch(tmp_path / "ms3/audio_wav/test/vid_b_2.wav")
    touch(tmp_path / "ms3/audio_wav/train/alone.wav")
    touch(tmp_path / "ms3/visual_frames/gone/gone.mp4_1.png")
    found = scan([str(tmp_path)])
    clips = {clip.id: (clip.path, clip.audio_path, clip.source) for clip in found.candidates}
    assert clips == {
        **{
            f"vid_a_{number}": (
                f"s4/visual_frames/test/dog/vid_a/vid_a_{number}.png",
                "s4/audio_wav/test/dog/vid_a.wav",
                "vid_a",
            )
            for number in range(1, 6)
        },
        **{
            f"vid_b_2_{number}": (
                f"ms3/visual_frames/vid_b_2/vid_b_2.mp4_{number}.png",
                "ms3/audio_wav/test/vid_b_2.wav",
                "vid_b_2",
            )
            for number in range(1, 6)
        },
        "gone_1": (
            "ms3/visual_frames/gone/gone.mp4_1.png", "ms3/audio_wav/gone.wav", "gone"
        ),  # fails as missing
    }  # fmt: skip
    assert found.ignored == {".png": 5, ".wav": 1}
    told = "a sound has no picture in visual_frames: ms3/audio_wav/train/alone.wav"
    assert found.notices == [f"{tmp_path}: {told}"]


@pytest.mark.parametrize("folder", ["visual_frames", "images"])
def test_pictures_of_composed_benchmarks_have_sounds_of_their_names(
    folder: str, tmp_path: Path
) -> None:
    touch(tmp_path / folder / "cat_dog_7_cat.jpg")
    touch(tmp_path / "audio_wav" / "cat_dog_7_cat.wav")
    (clip,) = scan([str(tmp_path)]).candidates
    assert (clip.id, clip.source) == ("cat_dog_7_cat", "cat_dog_7_cat")
    assert clip.audio_path == "audio_wav/cat_dog_7_cat.wav"


def test_pictures_without_an_audio_folder_are_no_clips(tmp_path: Path) -> None:
    touch(tmp_path / "frames" / "a.jpg")
    with pytest.raises(InputError, match=r"no clips found \(left alone: 1 \.jpg\)"):
        scan([str(tmp_path)])


def test_frames_named_without_the_folder_above_say_what_to_name(tmp_path: Path) -> None:
    touch(tmp_path / "frames" / "a.jpg")
    with pytest.raises(InputError, match=r"left alone: 1 \.jpg\)$"):
        scan([str(tmp_path / "frames")])
    touch(tmp_path / "audio" / "a.wav")
    with pytest.raises(InputError, match=f"pictures with their sounds name {tmp_path}$"):
        scan([str(tmp_path / "frames/")])


# --- ids ---


@pytest.mark.parametrize(
    ("id_from", "ids"),
    [("stem", ["x.y", "x.y"]), ("path", ["a b__c__x.y", "x.y"])],
)
def test_id_from(tmp_path: Path, id_from: str, ids: list[str]) -> None:
    touch(tmp_path / "a b" / "c" / "x.y.mp4")
    touch(tmp_path / "x.y.mp4")
    found = scan([str(tmp_path)], id_from=id_from)  # type: ignore[arg-type]
    assert [clip.id for clip in found.candidates] == ids
    assert [clip.source for clip in found.candidates] == ids


def test_unknown_id_from_is_a_usage_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="id_from"):
        scan([str(tmp_path)], id_from="name")  # type: ignore[arg-type]


@pytest.mark.parametrize("bad", ["..", ".", "", "a/b", "a\0b"])
@pytest.mark.parametrize("with_path", [True, False])
def test_bad_ids_stay_and_are_rejected(tmp_path: Path, bad: str, with_path: bool) -> None:
    touch(tmp_path / "clip.mp4", size=5)
    table = tmp_path / "list.csv"
    # The label keeps a row without path and id from being a blank line.
    table.write_text(f'path,id,label\n{"clip.mp4" if with_path else ""},"{bad}",dog\n')
    clip = only(scan([str(table)]))
    assert (clip.id, clip.reject, clip.label) == (bad, Reason.BAD_ID, "dog")
    assert (clip.path, clip.bytes) == (("clip.mp4", 5) if with_path else ("", 0))


def test_bad_ids_without_a_file_do_not_collapse(tmp_path: Path) -> None:
    table = tmp_path / "list.txt"
    table.write_text("..\n.\n..\na\0b.mp4\n")
    found = scan([str(table)])
    assert sorted(clip.id for clip in found.candidates) == [".", "..", "a\0b"]
    assert {clip.reject for clip in found.candidates} == {Reason.BAD_ID}


# --- lists and CSVs ---


def test_list_of_paths_and_ids(tmp_path: Path) -> None:
    videos = tmp_path / "videos"
    touch(videos / "sub" / "one.webm", size=4)
    touch(videos / "two.dat")
    touch(videos / "three.mp4")
    touch(videos / "sub" / "four.mkv")
    names = tmp_path / "list.txt"
    names.write_text("one\n\ntwo.dat\n./three.mp4\nfour.mkv\ngone\nlost.mov\nsub/absent.mp4\n")
    found = scan([str(names)], root=str(videos))
    assert [(clip.id, clip.path) for clip in found.candidates] == [
        ("gone", "gone.mp4"),  # an id without a file: recorded under the name it should have had
        ("lost", "lost.mov"),
        ("absent", "sub/absent.mp4"),
        ("four", "sub/four.mkv"),
        ("one", "sub/one.webm"),
        ("three", "three.mp4"),
        ("two.dat", "two.dat"),
    ]
    assert {clip.root for clip in found.candidates} == {str(videos)}
    assert [clip.bytes for clip in found.candidates] == [0, 0, 0, 1, 4, 1, 1]


def test_list_root_defaults_to_its_folder_and_outside_paths_get_their_own(tmp_path: Path) -> None:
    touch(tmp_path / "lists" / "in.mp4")
    far = touch(tmp_path / "far" / "b.mp4")
    names = tmp_path / "lists" / "list.txt"
    names.write_text(f"in.mp4\n{far}\n../far/b.mp4\n{tmp_path}/lists/in.mp4\n")
    found = scan([str(names)])
    assert [(clip.root, clip.path) for clip in found.candidates] == [
        (str(tmp_path / "far"), "b.mp4"),
        (str(tmp_path / "lists"), "in.mp4"),
    ]


def test_ids_find_the_peers_layout(tmp_path: Path) -> None:
    touch(tmp_path / "frames" / "7.jpg")
    touch(tmp_path / "audio" / "7.wav")
    names = tmp_path / "ids.txt"
    names.write_text("7\n8\n")
    found = scan([str(names)])
    assert [(clip.id, clip.path, clip.audio_path) for clip in found.candidates] == [
        ("8", "8.mp4", None),
        ("7", "frames/7.jpg", "audio/7.wav"),
    ]


HEADER = "path,id,label,start_s,seconds,source,audio_path"
FULL_ROW = 'v.mp4,clip-ä,"dog, barking ""loud""",1.5,4,film,snd.wav'


@pytest.mark.parametrize(
    ("suffix", "content"),
    [
        (".csv", f"{HEADER}\n{FULL_ROW}\n".encode()),
        (".csv", f"{HEADER}\r\n{FULL_ROW}\r\n".encode()),
        (".csv", f"\ufeff{HEADER}\n{FULL_ROW}".encode()),
        (".csv", f"\ufeff{HEADER}\r\n\r\n{FULL_ROW}\r\n\r\n".encode()),
        (".csv", f"{HEADER}\r{FULL_ROW}\r".encode()),
        (".CSV", f" Path, ID ,Label,START_S,seconds,source,audio_path\n{FULL_ROW}".encode()),
        (".tsv", "\t".join(HEADER.split(",")).encode() + b"\nv.mp4\tclip-\xc3\xa4\t"
         b'"dog, barking ""loud"""\t1.5\t4\tfilm\tsnd.wav\n'),
    ],
    ids=["lf", "crlf", "bom", "bom crlf blank lines", "cr", "header case", "tsv"],
)  # fmt: skip
def test_csv_dialects(tmp_path: Path, suffix: str, content: bytes) -> None:
    touch(tmp_path / "v.mp4", size=9)
    table = tmp_path / f"t{suffix}"
    table.write_bytes(content)
    assert only(scan([str(table)])) == Candidate(
        id="clip-ä", root=str(tmp_path), path="v.mp4", bytes=9, source="film",
        audio_path="snd.wav", start_s=1.5, seconds=4.0, label='dog, barking "loud"',
    )  # fmt: skip


def test_csv_names_with_newlines_and_other_bytes(tmp_path: Path) -> None:
    for name in ("a\nb.mp4", os.fsdecode(b"\xff.mp4"), " lead.mp4"):
        touch(tmp_path / name)
    table = tmp_path / "t.csv"
    table.write_bytes(b'path\n"a\nb.mp4"\n\xff.mp4\n lead.mp4\n')
    assert [(clip.path, clip.bytes) for clip in scan([str(table)]).candidates] == [
        (" lead.mp4", 1),
        ("a\nb.mp4", 1),
        ("\udcff.mp4", 1),
    ]


def test_csv_of_ids_with_short_rows(tmp_path: Path) -> None:
    touch(tmp_path / "deep" / "a.mp4")
    table = tmp_path / "t.csv"
    table.write_text("id,label,seconds\na,dog,3\nb\n")
    found = scan([str(table)])
    assert [(c.id, c.path, c.label, c.start_s, c.seconds) for c in found.candidates] == [
        ("b", "b.mp4", None, None, None),
        ("a", "deep/a.mp4", "dog", 0.0, 3.0),  # a length without a start is cut from the start
    ]


def test_vggsound(tmp_path: Path) -> None:
    touch(tmp_path / "v" / "---g-f_I2yQ_000001.mp4")
    touch(tmp_path / "v" / "abcdefghijk.webm")
    table = tmp_path / "vggsound.csv"
    table.write_text(
        "---g-f_I2yQ,1,people marching,test\n"
        'abcdefghijk,30,"bird, chirping",train\n'
        "abcdefghijk,130,dog,train\n"
        "notthere_00,7,cat,train\n"
    )
    found = scan([str(table)], root=str(tmp_path / "v"))
    rows = [(c.id, c.path, c.start_s, c.seconds, c.label, c.source) for c in found.candidates]
    assert rows == [
        ("---g-f_I2yQ_000001", "---g-f_I2yQ_000001.mp4", None, None, "people marching",
         "---g-f_I2yQ"),
        ("abcdefghijk_000030", "abcdefghijk.webm", 30.0, 10.0, "bird, chirping", "abcdefghijk"),
        ("abcdefghijk_000130", "abcdefghijk.webm", 130.0, 10.0, "dog", "abcdefghijk"),
        ("notthere_00_000007", "notthere_00_000007.mp4", None, None, "cat", "notthere_00"),
    ]  # fmt: skip


def test_headerless_file_and_label(tmp_path: Path) -> None:
    touch(tmp_path / "v" / "glLQrEijrKg_000300.mp4")
    table = tmp_path / "test.csv"
    table.write_text("glLQrEijrKg_000300.mp4,playing hammond organ\n")
    clip = only(scan([str(table)]))
    assert (clip.id, clip.path) == ("glLQrEijrKg_000300", "v/glLQrEijrKg_000300.mp4")
    assert clip.label == "playing hammond organ"


@pytest.mark.parametrize(
    ("name", "lines", "ids"),
    [
        ("vggss_test.csv", "zpWuikVorYg_000032\r\n-MsK_0l-cAB_000364\r\n",
         ["zpWuikVorYg_000032", "-MsK_0l-cAB_000364"]),
        ("flickr_test.csv", "10000130166,202\n10007936344,0\n", ["10000130166", "10007936344"]),
    ],
)  # fmt: skip
def test_released_test_lists(tmp_path: Path, name: str, lines: str, ids: list[str]) -> None:
    (tmp_path / name).write_text(lines, newline="")
    assert read_ids(tmp_path / name) == ids
    touch(tmp_path / "v" / f"{ids[1]}.mp4")
    found = scan([str(tmp_path / name)], root=str(tmp_path / "v"))
    assert [(clip.id, clip.label) for clip in found.candidates] == [
        (name, None) for name in sorted(ids)
    ]


@pytest.mark.parametrize(("name", "count"), [("vggss_test", 5158), ("flickr_test", 250)])
def test_released_test_lists_as_published(name: str, count: int) -> None:
    path = Path(__file__).parents[4] / "shared" / "metadata" / f"{name}.csv"
    if not path.is_file():
        pytest.skip("no ../shared/metadata beside the checkout")
    assert len(set(read_ids(path) or [])) == count


# --- overlaps ---


def test_same_file_named_twice_is_one_clip_of_the_first_root(tmp_path: Path) -> None:
    file = touch(tmp_path / "sub" / "a.mp4")
    touch(tmp_path / "b.mp4")
    everything, below, one = str(tmp_path), str(tmp_path / "sub"), str(file)
    for inputs, roots in [
        ([everything, below, one, everything], [everything, everything]),
        ([below, everything], [below, everything]),
        ([one, everything], [below, everything]),
    ]:
        found = scan(inputs)
        assert [clip.id for clip in sorted(found.candidates, key=lambda c: c.id)] == ["a", "b"]
        assert [c.root for c in sorted(found.candidates, key=lambda c: c.id)] == roots


def test_pieces_of_one_file_are_several_clips(tmp_path: Path) -> None:
    touch(tmp_path / "a.mp4")
    table = tmp_path / "t.csv"
    table.write_text("path,id,start_s\na.mp4,two,20\na.mp4,one,3\na.mp4,two,20\na.mp4,all,\n")
    found = scan([str(table)])
    assert [(clip.id, clip.start_s) for clip in found.candidates] == [
        ("all", None),
        ("one", 3.0),
        ("two", 20.0),
    ]


@pytest.mark.parametrize(
    ("column", "cells"),
    [
        ("audio_path", ["", "s.wav", "t.wav"]),
        ("seconds", ["", "2", "4"]),
        ("start_s", ["", "0", "2"]),
        ("id", ["a", "b", "c"]),
    ],
)
def test_lines_that_ask_for_another_clip_of_a_file_stay(
    tmp_path: Path, column: str, cells: list[str]
) -> None:
    touch(tmp_path / "a.mp4")
    table = tmp_path / "t.csv"
    lines = [f"a.mp4,{cell}\n" for cell in cells]
    table.write_text(f"path,{column}\n" + "".join(lines + lines))
    kept = scan([str(tmp_path), str(table), str(tmp_path)]).candidates
    assert (
        len(kept) == len(set(map(astuple, kept))) == 3
    )  # what the folder names is the table's first line


@pytest.mark.parametrize("id_from", ["stem", "path"])
def test_a_picture_and_its_sound_named_under_two_roots_are_one_clip(
    tmp_path: Path, id_from: str
) -> None:
    touch(tmp_path / "test" / "frames" / "a.jpg")
    touch(tmp_path / "test" / "audio" / "a.wav")
    table = touch(tmp_path / "test" / "t.csv")
    table.write_text("path,audio_path\nframes/a.jpg,audio/a.wav\n")
    found = scan([str(tmp_path), str(table)], id_from=id_from)  # type: ignore[arg-type]
    assert only(found).audio_path == "test/audio/a.wav"


# --- one line and exit code 4 ---


def make_fifo(path: Path) -> None:
    os.mkfifo(path)


def make_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(os.path.relpath(path))  # a socket's name must be short


def make_device(path: Path) -> None:
    path.symlink_to("/dev/null")


@pytest.mark.parametrize("make", [make_fifo, make_socket, make_device])
def test_special_inputs(
    tmp_path: Path, make: Callable[[Path], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    make(tmp_path / "x.mp4")
    with pytest.raises(InputError, match="FIFO, socket or device"):
        scan([str(tmp_path / "x.mp4")])


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("t.csv", "file,label\na,b\n", r"t\.csv: needs a column 'path' or 'id' \(found: file, la"),
        ("t.tsv", "path,id\na,b\n", "needs a column"),
        ("t.csv", "", "empty; needs a header"),
        ("t.csv", "path\n", "no clips found: the list has no lines, or none below its header"),
        ("t.txt", "", "no clips found: the list has no lines"),
        ("t.txt", "\n\n", "no clips found: the list has no lines"),
        ("t.csv", "\0\0ftypisom\n", "t.csv: is not a text list"),
        ("t.csv", "\x89PNG\r\n\x1a\n", "t.csv: is not a text list"),
        ("t.csv", "path,start_s\na.mp4,soon\n", "row 2: start_s must be a number.*'soon'"),
        ("t.csv", "path,start_s\na.mp4,1\nb.mp4,-1\n", "row 3: start_s"),
        ("t.csv", "path,seconds\na.mp4,nan\n", "row 2: seconds"),
        ("t.csv", "---g-f_I2yQ,1,a,test\n---g-f_I2yQ,x,a,test\n", "not a line of VGGSound"),
        ("t.csv", f"---g-f_I2yQ,{'9' * 310},a,test\n", "the start of ---g-f_I2yQ must be a number"),
        ("t.csv", f"---g-f_I2yQ,{'9' * 5000},a,test\n", "the start of ---g-f_I2yQ must be"),
        ("t.csv", "path,start_s\na.mp4,1e300\n", "row 2: start_s must be a number"),
        ("t.csv", f"path,seconds\na.mp4,{'9' * 5000}\n", "row 2: seconds must be a number"),
        ("t.csv", "path\n" + "a" * 200_000 + "\n", "not a CSV"),
    ],
)
def test_wrong_lists(tmp_path: Path, name: str, content: str, message: str) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(InputError, match=message) as caught:
        scan([str(tmp_path / name)])
    assert caught.value.exit_code == 4
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "content", "what"),
    [
        ("clips.parquet", b"PAR1\x15\x04", "a table that is not read here"),
        ("clips.jsonl", b'{"path": "a.mp4"}\n', "a table that is not read here"),
        ("clips", b"PAR1\x15\x04", "a Parquet table"),
        ("clips.csv", b"PAR1\x15\x04", "a Parquet table"),
        ("clips.txt", b"PAR1\x15\x04", "a Parquet table"),
        ("clips.csv", b"PK\x03\x04 xlsx", "an archive or a spreadsheet"),
        ("clips.zip", b"PK\x03\x04", "an archive"),
        ("clips.tar.gz", b"\x1f\x8b\x08", "a compressed file"),
        ("clips.csv.gz", b"\x1f\x8b\x08", "a compressed file"),
        ("clips.txt", "a.mp4\n".encode("utf-16"), "text in UTF-16"),
    ],
)
def test_a_list_of_another_kind_stops_the_run_and_is_named(
    tmp_path: Path, name: str, content: bytes, what: str
) -> None:
    """Not a warning beside clips that are done: what it lists would be lost."""
    touch(tmp_path / "videos" / "a.mp4")
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError) as caught:
        scan([str(tmp_path / "videos"), str(tmp_path / name)])
    told = str(caught.value)
    assert told.startswith(f"{tmp_path / name}: {what}") and "as .txt or .csv in UTF-8" in told
    assert "\n" not in told


def test_a_video_that_is_an_archive_is_that_clips_failure(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_bytes(b"PK\x03\x04")
    assert only(scan([str(tmp_path / "a.mp4")])).id == "a"


def test_digits_without_end_in_an_id_that_no_file_has_are_no_start(tmp_path: Path) -> None:
    """They ended in an internal error, as did leading zeros in VGGSound's table."""
    clip_id = "---g-f_I2yQ_" + "9" * 5000
    (tmp_path / "t.txt").write_text(clip_id + "\n")
    (tmp_path / "t.csv").write_text(f"---g-f_I2yQ,{'0' * 5000}7,a,test\n")
    assert only(scan([str(tmp_path / "t.txt")])).detail.startswith("no video or picture is named")
    assert only(scan([str(tmp_path / "t.csv")])).id == "---g-f_I2yQ_000007"


def test_a_sound_whose_path_holds_a_nul_is_that_clips_failure(tmp_path: Path) -> None:
    """It made the decoder crash, twice."""
    touch(tmp_path / "a.mp4")
    (tmp_path / "t.csv").write_text("path,audio_path\na.mp4,b\0.wav\n")
    clip = only(scan([str(tmp_path / "t.csv")]))
    assert (clip.reject, clip.detail) == (Reason.BAD_ID, "the path of its sound holds a NUL")
    assert clip.audio_path is None


@pytest.mark.parametrize("suffix", ["", ".txt", ".csv"])
def test_a_list_through_a_pipe_is_refused(
    suffix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its first 8 KiB went to the look at its magic: 341 of 2,000 ids were missing."""
    content = "".join(f"{number:07d}\n" for number in range(2000)).encode()
    ends = os.pipe()
    os.write(ends[1], content)
    os.close(ends[1])
    name = f"/dev/fd/{ends[0]}"
    if suffix:
        name = str(tmp_path / f"ids{suffix}")
        os.mkfifo(name)
    with pytest.raises(InputError, match="a pipe or device, which cannot be read again: write"):
        read_ids(Path(name))
    os.close(ends[0])
    (tmp_path / "ids").write_bytes(content)
    with (tmp_path / "ids").open() as file:  # as `< ids` gives it
        assert read_ids(Path(f"/dev/fd/{file.fileno()}")) == content.decode().split()


def test_of_two_lists_the_unreadable_one_stops_the_run_and_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("one", "two"):
        (tmp_path / f"{name}.txt").write_text(f"{name}.mp4\n")
    real = os.open

    def refuse(path: Any, *arguments: Any, **options: Any) -> int:
        if str(path).endswith("two.txt"):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)
        return real(path, *arguments, **options)

    monkeypatch.setattr(os, "open", refuse)
    lists = [str(tmp_path / f"{name}.txt") for name in ("one", "two")]
    with pytest.raises(InputError, match=r"two\.txt: cannot be read \(Permission denied\)"):
        scan(lists)
    assert len(scan(lists[:1]).candidates) == 1


@pytest.mark.parametrize("name", ["gone", "gone.mp4", "gone.csv", "", "no\nsuch"])
def test_missing_input(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match="No such file") as caught:
        scan([name])
    assert "\n" not in str(caught.value)


def test_nothing_found(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no clips found"):
        scan([str(tmp_path)])
    with pytest.raises(InputError, match="no input"):
        scan([])


def test_list_root_must_be_a_folder(tmp_path: Path) -> None:
    names = touch(tmp_path / "list.txt")
    with pytest.raises(InputError, match="No such file"):
        scan([str(names)], root=str(tmp_path / "gone"))
    with pytest.raises(InputError, match="--root must be a folder"):
        scan([str(names)], root=str(names))
    (tmp_path / "disk").mkdir()
    with pytest.raises(InputError, match=r"--root is empty: is the disk mounted\?"):
        scan([str(names)], root=str(tmp_path / "disk"))


def test_a_root_without_a_list_is_not_passed_over(tmp_path: Path) -> None:
    touch(tmp_path / "a.mp4")
    for name in (tmp_path, tmp_path / "a.mp4"):
        with pytest.raises(UsageError, match=f"--root {tmp_path}: is for lists"):
            scan([str(name)], root=str(tmp_path))
    (tmp_path / "t.CSV").write_text("path\na.mp4\n")
    assert only(scan([str(tmp_path), str(tmp_path / "t.CSV")], root=str(tmp_path))).id == "a"


# --- size ---


class FakeEntry:
    """A directory entry, so that a folder of many files needs none."""

    def __init__(self, name: str) -> None:
        self.name = name

    def is_dir(self) -> bool:
        return False

    def stat(self) -> os.stat_result:
        return os.stat_result((stat.S_IFREG, 0, 0, 1, 0, 0, 500_000, 0, 0, 0))


def test_memory_per_clip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """2,000,000 files stay well under 1 GB: at most 300 bytes each while scanning."""
    tracemalloc = pytest.importorskip("tracemalloc")
    number = 20_000

    class Entries:
        def __enter__(self) -> Iterator[FakeEntry]:
            return (FakeEntry(f"abcdefghijk_{index:06d}.mp4") for index in range(number))

        def __exit__(self, *_: object) -> None:
            pass

    monkeypatch.setattr(os, "scandir", lambda _: Entries())
    tracemalloc.start()
    try:
        found = scan([str(tmp_path)])
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(found.candidates) == number
    assert sys.getsizeof(found.candidates[0]) < 128  # slots, no dict
    assert peak / number < 300
