"""Addresses as people write them, and as the program keeps them: names, and never a secret."""

from pathlib import Path

import pytest
from avpipe.cache.addresses import (
    address_below,
    archive_in,
    host_of,
    is_address,
    is_elsewhere,
    is_other_address,
    joined,
    parse_address,
    why_unread,
    without_secrets,
)


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("https://host/videos/", "https://host/videos"),
        ("HTTPS://Host:8443/Videos", "https://host:8443/Videos"),
        ("https://host", "https://host"),
        ("https://host/a%20b/c%23d%3F.mp4", "https://host/a b/c#d?.mp4"),
        ("https://host/%E9.mp4", "https://host/\udce9.mp4"),
        ("https://host/a/../b//c/./d", "https://host/b/c/d"),
        ("https://host/../../etc", "https://host/etc"),
        ("s3://bucket/a%20b?c#d/", "s3://bucket/a%20b?c#d"),
        ("gs://bucket/../x", "gs://bucket/../x"),
        ("hf://datasets/me/clips@main/v", "hf://datasets/me/clips@main/v"),
        (str(Path("https://host/videos")), "https://host/videos"),
        (str(Path("s3://bucket/key")), "s3://bucket/key"),
    ],
)
def test_an_address_is_kept_as_names(text: str, kept: str) -> None:
    assert is_address(text) and not is_other_address(text)
    assert parse_address(text) == kept
    assert is_address(kept)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("https://me:hush@host/v", "netrc"),
        ("https://hush@host/v", "netrc"),
        ("https://host/v?X-Amz-Signature=hush", "query"),
        ("https://host/v?", "query"),
        ("https://host/v#hush", "query"),
        ("https://host/a%2Fb.mp4", "%2F"),
        ("https://host/a%00.mp4", "%00"),
        ("https://host:port/x", "no address"),
        ("https://[::1/x", "no address"),
        ("s3://bucket/a\0b", "NUL"),
    ],
)
def test_what_a_cache_must_not_keep_is_refused_and_not_repeated(text: str, why: str) -> None:
    with pytest.raises(ValueError, match=why) as caught:
        parse_address(text)
    assert "hush" not in str(caught.value)
    assert "hush" not in without_secrets(text)


def test_secrets_are_left_out() -> None:
    assert without_secrets("https://me:pw@host/a?b=c") == "https://host/a?..."
    assert without_secrets("https://me:pw@host") == "https://host"
    assert without_secrets("s3://bucket/a?b") == "s3://bucket/a?b"
    assert without_secrets("videos") == "videos"
    assert without_secrets("ftp://me:pw@host/a?b") == "ftp://host/a?..."
    assert without_secrets("abfs://box@account/a") == "abfs://box@account/a"
    assert without_secrets("https:/me:pw@host/a") == "https:/host/a"  # as it was typed
    assert host_of("https://me:pw@Host:1/a?b=c") == "https://Host:1"
    assert host_of("s3://bucket/a/b") == "s3://bucket"


@pytest.mark.parametrize("text", ["ftp://host/x", "az://box/x", "file:///x", "abfs://a@b/c"])
def test_other_kinds_are_told_apart(text: str) -> None:
    assert is_other_address(text) and not is_address(text)


@pytest.mark.parametrize("text", ["videos", "/a:/b", "C:/videos", "a/https://b", "https:", "s3:/"])
def test_paths_are_no_addresses(text: str) -> None:
    assert not is_address(text) and not is_other_address(text)


def test_names_are_joined_as_those_of_files() -> None:
    assert joined("/videos", "a/b.mp4") == "/videos/a/b.mp4"
    assert joined("/videos", "/other/b.mp4") == "/other/b.mp4"
    assert joined("s3://bucket/v", "a/b.mp4") == "s3://bucket/v/a/b.mp4"
    assert joined("/videos", "s3://bucket/b.mp4") == "s3://bucket/b.mp4"
    assert address_below("https://host/v", "./a/../b.mp4") == "https://host/v/b.mp4"
    assert address_below("https://host", "../../b.mp4") == "https://host/b.mp4"


def test_a_folder_may_be_called_as_a_tar_is(tmp_path: Path) -> None:
    (tmp_path / "folder.tar").mkdir()
    (tmp_path / "file.tar").touch()
    assert archive_in(f"{tmp_path}/folder.tar/a.mp4") is None
    assert archive_in(f"{tmp_path}/file.tar/a/b.mp4") == (f"{tmp_path}/file.tar", "a/b.mp4")
    assert archive_in(f"{tmp_path}/gone.tar/a.mp4") is None
    assert archive_in("s3://b/x.tar/y.tar/a.mp4") == ("s3://b/x.tar", "y.tar/a.mp4")
    assert not is_elsewhere(f"{tmp_path}/file.tar") and is_elsewhere("s3://b/x.mp4")


@pytest.mark.parametrize("text", ["https://host/v", "S3://bucket/a//b", "hf://datasets/x", "C:/v"])
def test_nothing_is_wrong_with_addresses_that_are_read(text: str) -> None:
    assert why_unread(text) == ""
