"""What lies in a tar, beside what `tarfile` finds; and what hostile or damaged ones come to."""

import io
import os
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
from avpipe.errors import ClipError, InputError
from avpipe.stages.sources.archives import contents
from avpipe.stages.sources.staging import staged
from avpipe.stages.sources.tar import Contents, Member, NoTarError, contents_of, leads_out
from clip_server import clips_served

CLIP = os.urandom(1500)


def packed(*members: tuple[str, bytes], form: int = tarfile.PAX_FORMAT) -> bytes:
    """Return an archive."""
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w", format=form) as archive:
        for name, content in members:
            header = tarfile.TarInfo(name)
            header.size = len(content)
            archive.addfile(header, io.BytesIO(content))
    return target.getvalue()


def read(data: bytes) -> Contents:
    return contents_of(lambda at, length: data[at : at + length], len(data))


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_every_form_is_read_as_tarfile_reads_it(form: int) -> None:
    names = ["a.mp4", "sub/b.mp4", "empty.mp4", "name with % and ? #.mp4"]
    if form != tarfile.USTAR_FORMAT:
        names += ["long/" * 40 + "c.mp4", "n\u00e9.mp4", "n\udce9.mp4"]
    members = [(name, CLIP[: 9 * len(name)] if name != "empty.mp4" else b"") for name in names]
    data = packed(*members, form=form)
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        wanted = {one.name: Member(one.size, one.offset_data) for one in archive}
    found = read(data)
    assert found == Contents(wanted) and set(wanted) == set(names)
    for name, content in members:
        size, offset = found.members[name]
        assert data[offset : offset + size] == content


def test_sizes_beyond_eight_gigabytes_are_read() -> None:
    for form in (tarfile.GNU_FORMAT, tarfile.PAX_FORMAT):
        header = tarfile.TarInfo("huge.mp4")
        header.size = 9 << 30
        data = header.tobuf(form)
        found = read(data)
        assert found.members == {"huge.mp4": Member(9 << 30, len(data))} and found.is_cut


def test_the_last_of_a_name_counts_as_in_unpacking() -> None:
    found = read(packed(("a.mp4", b"old"), ("./a.mp4", b"newer")))
    assert found.members["a.mp4"].bytes == 5 and found.twice == ["a.mp4"]


def test_links_devices_and_folders_are_no_clips(tmp_path: Path) -> None:
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w") as archive:
        for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.DIRTYPE):
            header = tarfile.TarInfo(f"{kind!r}.mp4")
            header.type, header.linkname = kind, "/etc/passwd"
            archive.addfile(header)
        sparse = tarfile.TarInfo("sparse.mp4")
        sparse.pax_headers = {"GNU.sparse.major": "1", "GNU.sparse.name": "x"}
        sparse.size = 3
        archive.addfile(sparse, io.BytesIO(b"abc"))
        last = tarfile.TarInfo("last.mp4")
        last.size = 2
        archive.addfile(last, io.BytesIO(b"ab"))
    found = read(target.getvalue())
    assert list(found.members) == ["last.mp4"] and found.links == 3


@pytest.mark.parametrize(
    ("name", "does"),
    [("/etc/a.mp4", True), ("../a.mp4", True), ("a/../../b.mp4", True), ("a..b/c.mp4", False)],
)
def test_names_that_lead_out(name: str, does: bool) -> None:
    assert leads_out(name) is does


def test_cut_anywhere_it_says_so() -> None:
    data = packed(("a.mp4", CLIP), ("b.mp4", CLIP))
    end = read(data).members["b.mp4"]
    whole = end.offset + 1536  # with what fills its last block
    ends = (512 + 1536, whole)  # of a.mp4, and of both
    for size in {*range(1, whole, 97), *ends}:
        assert read(data[:size]).is_cut != (size in ends), size
    assert not read(data[:whole]).is_cut  # some writers leave the zeros at the end out


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: b"\x1f\x8b" + data[2:],  # gzip
        lambda data: b"\0" * 0 + os.urandom(4096),
        lambda data: data[:700] + b"!" * 5000,
        lambda data: data[:156] + b"L" + data[157:],  # the checksum is wrong now
    ],
)
def test_what_is_no_tar_is_refused(damage: Callable[[bytes], bytes], tmp_path: Path) -> None:
    path = tmp_path / "x.tar"
    path.write_bytes(damage(packed(("a.mp4", b"x"))))
    with pytest.raises(InputError, match=r"x\.tar: not an uncompressed tar, or damaged"):
        contents(str(path))


@pytest.mark.parametrize("form", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_an_absurd_name_is_not_read_into_memory(form: int) -> None:
    kind = tarfile.GNUTYPE_LONGNAME if form == tarfile.GNU_FORMAT else tarfile.XHDTYPE
    header = tarfile.TarInfo("././@LongLink")
    header.type, header.size = kind, 5 << 40
    with pytest.raises(NoTarError, match="a name of"):
        read(header.tobuf(tarfile.GNU_FORMAT))


def test_damaged_pax_records_are_refused() -> None:
    header = tarfile.TarInfo("x")
    header.type, header.size = tarfile.XHDTYPE, 512
    many = b"9" * 5000
    for records in (b"0 path=a\n", b"nonsense", b"99999999999 path=a\n", many + b" path=a\n"):
        header.size = -(-len(records) // 512) * 512
        data = header.tobuf(tarfile.USTAR_FORMAT) + records.ljust(header.size, b"\0")
        with pytest.raises(NoTarError, match="pax"):
            read(data + packed(("a.mp4", b"x")))


def test_a_size_of_thousands_of_digits_is_refused() -> None:
    header = tarfile.TarInfo("x")
    header.type, record = tarfile.XHDTYPE, b"5012 size=" + b"9" * 5001 + b"\n"
    header.size = len(record)
    data = header.tobuf(tarfile.USTAR_FORMAT) + record.ljust(10 * 512, b"\0")
    with pytest.raises(NoTarError, match="a size of 5001 digits"):
        read(data + packed(("a.mp4", b"x")))


def test_an_empty_file_holds_nothing(tmp_path: Path) -> None:
    (tmp_path / "x.tar").touch()
    assert contents(str(tmp_path / "x.tar"))[0].members == {}


LONG = "d/" * 60 + "long.avi"


@pytest.mark.parametrize("form", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT])
@pytest.mark.parametrize("names", [("a.avi", "b.avi"), ("./a.avi", "./b.avi"), ("é.avi", LONG)])
def test_a_tar_in_another_order_gives_each_clip_its_own_bytes(
    names: tuple[str, str], form: int, tmp_path: Path
) -> None:
    """Of two files of one size `a.avi` got the bytes of `b.avi` for its own, in silence."""
    archive, content = tmp_path / "x.tar", dict(zip(names, (b"a" * 1000, b"b" * 1000), strict=True))
    archive.write_bytes(packed(*content.items(), form=form))
    planned = contents(str(archive))[0].members
    archive.write_bytes(packed(*reversed(content.items()), form=form))
    for name, own in content.items():
        name = name.removeprefix("./")
        line = {"path": f"{archive}/{name}", "bytes": 1000, "offset": planned[name].offset}
        with staged(line) as found:
            assert Path(found["path"]).read_bytes() == own


def test_so_does_a_tar_at_an_address_whose_host_tells_no_version() -> None:
    content = {"a.avi": b"a" * 1000, "b.avi": b"b" * 1000}
    with clips_served({"x.tar": packed(*reversed(content.items()))}) as server:
        server.etags = False
        offset = 512  # where planning saw it, in a tar of before
        for name, own in content.items():
            line = {"path": f"{server.url}/x.tar/{name}", "bytes": 1000, "offset": offset}
            with staged(line) as found:
                assert Path(found["path"]).read_bytes() == own
            with (
                pytest.raises(ClipError, match="changed since it was planned"),
                staged(line | {"bytes": 999}),
            ):
                pass
            offset += 1536


@pytest.mark.parametrize("offset", [0, 1 << 40, 1 << 70, 513])
def test_a_planned_place_that_holds_no_header_is_not_believed(offset: int, tmp_path: Path) -> None:
    archive = tmp_path / "x.tar"
    archive.write_bytes(packed(("a.avi", b"a" * 1000)))
    with staged({"path": f"{archive}/a.avi", "bytes": 1000, "offset": offset}) as found:
        assert Path(found["path"]).read_bytes() == b"a" * 1000


def test_a_pipe_that_is_called_like_a_tar_is_refused(tmp_path: Path) -> None:
    """A list that named it waited for ever."""
    os.mkfifo(tmp_path / "x.tar")
    with pytest.raises(InputError, match=r"x\.tar: cannot be read \(not a regular file\)"):
        contents(str(tmp_path / "x.tar"))
