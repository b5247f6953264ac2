"""Searches that cannot fit are refused from numbers alone, with the bytes and the ways out."""

from __future__ import annotations

from pathlib import Path

import pytest
from avpipe.errors import InputError
from avpipe.stages.neighbors.room import needs, num_lists, require_cluster_room, require_room

GB = 10**9


def test_twenty_million_clips_are_refused_on_a_small_machine(tmp_path: Path) -> None:
    wanted = needs(20_000_000, 512, 1000, 20_000_000, approximate=False)
    assert (wanted.vectors, wanted.map, wanted.neighbors) == (40_960_000_000,) * 2 + (120 * GB,)
    with pytest.raises(InputError) as raised:
        require_room(wanted, 20_000_000, Path("avcache"), memory_bytes=22 * GB, disk_bytes=45 * GB)
    assert str(raised.value) == (
        "neighbours of 20,000,000 clips do not fit: 120.0 GB of neighbours and 41.0 GB of vectors "
        "to map, avcache has 45.0 GB left; vectors of 41.0 GB in memory, 22.0 GB are free: divide "
        "them with --part I/N, choose clips with --ids, or take a smaller --k or --approximate"
    )


@pytest.mark.parametrize(
    ("memory", "disk", "is_mapped"), [(64, 130, False), (22, 170, True), (22, 130, None)]
)
def test_vectors_are_mapped_where_memory_is_short(
    tmp_path: Path, memory: int, disk: int, is_mapped: bool | None
) -> None:
    wanted = needs(20_000_000, 512, 1000, 20_000_000, approximate=False)
    room = {"memory_bytes": memory * GB, "disk_bytes": disk * GB}
    if is_mapped is None:
        with pytest.raises(InputError, match="to map"):
            require_room(wanted, 20_000_000, tmp_path, **room)
        assert require_room(wanted, 20_000_000, tmp_path, has_map=True, **room)
    else:
        assert require_room(wanted, 20_000_000, tmp_path, **room) is is_mapped


def test_an_index_has_to_fit_in_memory(tmp_path: Path) -> None:
    wanted = needs(20_000_000, 512, 1000, 2_500_000, approximate=True)
    assert wanted.map == 20_480_000_000 and wanted.neighbors == 15 * GB
    assert 10.4 * GB < wanted.index < 10.5 * GB
    with pytest.raises(InputError, match=r"an index of 10\.4 GB in memory, 8\.0 GB are free"):
        require_room(wanted, 20_000_000, tmp_path, memory_bytes=8 * GB, disk_bytes=900 * GB)
    assert require_room(wanted, 20_000_000, tmp_path, memory_bytes=16 * GB, disk_bytes=40 * GB)


def test_clusters_of_too_many_vectors_name_a_sample() -> None:
    require_cluster_room(1_000_000, 512, sampled=False, memory_bytes=3 * GB)
    with pytest.raises(InputError, match=r"take 41\.0 GB, 22\.0 GB of memory.*--sample 5240021"):
        require_cluster_room(20_000_000, 512, sampled=False, memory_bytes=22 * GB)


@pytest.mark.parametrize(
    ("clips", "lists"),
    [(1, 1), (3, 2), (100, 16), (100_000, 512), (1_000_000, 2048), (20_000_000, 8192)],
)
def test_number_of_lists(clips: int, lists: int) -> None:
    assert num_lists(clips) == lists
