"""What a run keeps says whether it is still what was written: its record, its maps, its objects."""

import hashlib
import io
import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from avpipe.cache.store import Cache
from avpipe.errors import CacheCorruptError, InputError
from avpipe.train.notices import collected
from avpipe.train.recipe import load_recipe
from avpipe.train.runs.record import RunRecord, read_record, write_record
from avpipe.train.runs.sealed import is_signed, seal, sign, unseal
from avpipe.train.runs.verify import verify_runs
from avpipe.train.score.maps import stored_object_maps
from avpipe.train.score.stored_arrays import DamagedArraysError, pack, unpack
from cache_factory import make_cache

RECORD = RunRecord(
    recipe=load_recipe("compact", ["spectrogram_mean=-10", "lr=1e-3"]),
    recipe_name="compact",
    seed=3,
    cache="avcache",
    data="ab" * 32,
    batch_size=32,
    ids=("a", "b\udcff", "ü"),
    versions={"torch": "2"},
    inputs={"hints/detr-r50": None},
)


def flips(content: bytes, num: int) -> list[bytes]:
    """Return copies with one bit flipped each, drawn at random."""
    found = []
    bits = np.random.default_rng(0).choice(8 * len(content), min(num, 8 * len(content)), False)
    for bit in bits.tolist():
        flipped = bytearray(content)
        flipped[bit // 8] ^= 1 << bit % 8
        found.append(bytes(flipped))
    return found


# The record


def test_the_digest_is_that_of_the_canonical_json(tmp_path: Path) -> None:
    write_record(tmp_path, RECORD)
    record = json.loads((tmp_path / "run.json").read_text())
    assert list(record)[-1] == "sha256"
    found = record.pop("sha256")
    text = json.dumps(record, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    assert found == hashlib.sha256(text.encode()).hexdigest()
    with collected() as told:
        assert read_record(tmp_path) == RECORD
    assert told == []


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("batch_size", 0), ("batch_size", 3), ("num_ranks", 0), ("num_ranks", -1), ("threads", "2"),
        ("image_weights", 5), ("audio_weights", []),
    ],
)  # fmt: skip
def test_values_that_no_run_has_are_damage(name: str, value: Any, tmp_path: Path) -> None:
    write_record(tmp_path, replace(RECORD, **{"num_ranks": 4, name: value}))
    with pytest.raises(CacheCorruptError, match=rf"run\.json is damaged \({name} is "):
        read_record(tmp_path)
    assert "run.json" in verify_runs(tmp_path).damaged


def test_no_flipped_bit_of_a_page_is_silent(tmp_path: Path) -> None:
    write_record(tmp_path, RECORD)
    path = tmp_path / "run.json"
    refused = 0
    for content in flips(path.read_bytes(), 300):
        path.write_bytes(content)
        try:
            assert read_record(tmp_path) == RECORD  # as `1e-05` and `1E-05` are one number
        except CacheCorruptError as error:
            refused += 1
            assert error.exit_code == 5
            assert str(error).startswith(f"{path} is damaged (") and "\n" not in str(error)
    assert refused > 270


def older(tmp_path: Path, **values: Any) -> Path:
    """Write the record as older versions did, with other values."""
    write_record(tmp_path, RECORD)
    record = {**json.loads((tmp_path / "run.json").read_text()), **values}
    del record["sha256"]
    (tmp_path / "run.json").write_text(json.dumps(record))
    return tmp_path / "run.json"


def test_a_page_without_a_digest_is_read_with_a_notice(tmp_path: Path) -> None:
    path = older(tmp_path)
    with collected() as told:
        assert read_record(tmp_path) == RECORD == read_record(tmp_path)
    (line,) = told
    assert line.startswith(f"{path} has no sha256, an older avpipe wrote it")


@pytest.mark.parametrize(
    "values",
    [
        {"seed": "3"}, {"seed": True}, {"seed": -1}, {"seed": 1 << 70}, {"batch_size": 2.0},
        {"ids": "abc"}, {"ids": [1, 2]}, {"ids": None}, {"recipe": []}, {"recipe": {"lr": "x"}},
        {"recipe": {"lrr": 1}}, {"cache": 5}, {"versions": []}, {"imported": "x"},
        {"inherited": [None]}, {"surplus": 1}, {"num_ranks": None},
    ],
)  # fmt: skip
def test_other_things_than_a_pages_are_one_line(tmp_path: Path, values: dict[str, Any]) -> None:
    path = older(tmp_path, **values)
    with pytest.raises(CacheCorruptError, match=re.escape(f"{path} is damaged (")) as caught:
        read_record(tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", [b"", b"[]", b"5", b"{", b"\xff", b"{}", b"[" * 100_000, b"\0"])
def test_what_is_not_a_page_is_one_line(tmp_path: Path, text: bytes) -> None:
    (tmp_path / "run.json").write_bytes(text)
    with pytest.raises(CacheCorruptError, match="is damaged") as caught:
        read_record(tmp_path)
    assert "\n" not in str(caught.value)


def test_no_page_is_no_run(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no run"):
        read_record(tmp_path)


def test_a_record_is_sealed_as_json_reads_it() -> None:
    record = {"a": (1, 2.5e-7), "b": {"c": None}, "d": "\udcff"}
    text = json.dumps(seal(record), indent=3).encode()
    assert unseal(text) == ({"a": [1, 2.5e-7], "b": {"c": None}, "d": "\udcff"}, True)
    assert unseal(b'{"a": 1}') == ({"a": 1}, False)
    with pytest.raises(ValueError, match="does not match its sha256"):
        unseal(text.replace(b"2.5e-07", b"2.5e-08"))
    with pytest.raises(ValueError, match="does not match its sha256"):
        unseal(b'{"sha256": null}')


def test_a_digest_under_another_name_is_damage() -> None:
    text = json.dumps(seal({"step": 5, "sha256": {"a": "b"}}, "record_sha256")).encode()
    assert unseal(text, "record_sha256") == ({"step": 5, "sha256": {"a": "b"}}, True)
    for content in flips(text, 8 * len(text)):
        try:
            assert unseal(content, "record_sha256")[0] == {"step": 5, "sha256": {"a": "b"}}
        except ValueError:
            continue


# Pages


def test_no_flipped_bit_of_a_signed_page_is_silent() -> None:
    content = sign("---\ntags: x\n---\n# A run\n")
    assert content.decode().splitlines()[-1].startswith("<!-- sha256 of all before: ")
    assert is_signed(content)
    for flipped in flips(content, 8 * len(content)):
        with pytest.raises(ValueError, match="does not match"):
            is_signed(flipped)
    for other in (b"", b"x", b"# A run\n" * 99, content.rpartition(b"<!--")[0]):
        assert not is_signed(other)


# Arrays


KEY = {"schema": "x", "rows": "y"}
ARRAYS = {
    "maps": np.arange(12, dtype=np.float32).reshape(3, 2, 2),
    "centres_px": np.array([0.0, 8.0]),
    "image_px": np.array(16),
}


def test_numpy_reads_the_arrays_too() -> None:
    with np.load(io.BytesIO(pack(KEY, ARRAYS))) as stored:
        assert set(stored.files) == {"key", *ARRAYS}
        assert np.array_equal(stored["maps"], ARRAYS["maps"])
    key, arrays = unpack(pack(KEY, ARRAYS))
    assert key == KEY
    for name, value in ARRAYS.items():
        assert np.array_equal(arrays[name], value) and arrays[name].dtype == value.dtype


def test_nothing_but_the_whole_is_unpacked() -> None:
    content = pack(KEY, ARRAYS)
    others = io.BytesIO()
    np.savez(others, key=np.zeros(1, np.uint8), maps=ARRAYS["maps"].astype(np.float64))
    cuts = [content[:at] for at in range(0, len(content), 37)]
    for damaged in [*flips(content, 2000), *cuts, content + b"\n", others.getvalue(), b"PK"]:
        with pytest.raises(DamagedArraysError):
            unpack(damaged)


class CountingPrior:
    """Stands in for the network of object maps."""

    digest, image_px, centres_px = "d" * 64, 224, np.array([0.0, 112.0])
    made = 0

    def activities(self, cache: Cache, rows: Any, batch_size: int, progress: Any) -> Any:
        self.made += 1
        return np.full((len(rows), 2, 2), 0.5, np.float32)


def test_damaged_object_maps_are_made_again_with_a_notice(tmp_path: Path) -> None:
    cache, prior = make_cache(tmp_path / "cache", 2), CountingPrior()
    path = tmp_path / "run/evaluate/synth-object-maps.npz"

    def read() -> tuple[bool, list[str]]:
        with collected() as told:
            found = stored_object_maps(tmp_path / "run", "synth", cache.ids, cache, prior)  # type: ignore[arg-type]
        assert np.array_equal(found.maps, np.full((2, 2, 2), 0.5, np.float32))
        return found.reused, told

    assert (read(), read(), prior.made) == ((False, []), (True, []), 1)
    whole = path.read_bytes()
    for damaged in [*flips(whole, 20), whole[:-1], b"", b"5"]:
        path.write_bytes(damaged)
        reused, told = read()
        assert not reused and len(told) == 1
        assert told[0].startswith(f"{path} is damaged, or an older avpipe wrote it")
        assert path.read_bytes() == whole
    assert read() == (True, [])
    prior.digest = "e" * 64
    assert read() == (False, [])
