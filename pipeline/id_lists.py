"""Lists of clip ids, as `--ids` and `--hold-out` take them."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from ..advice import quoted
from ..errors import CacheCorruptError, InputError
from ..reading import read_regular
from .extract.lists import read_entries


def read_ids(path: Path | None) -> list[str] | None:
    """Read the ids of a list (one a line) or a CSV (column `id`, or the stems of `path`).

    Of a run's `run.json` they are the clips that it learnt from.

    Returns:
        The ids in their order; None without a list.

    Raises:
        InputError: It cannot be read, or is no such list.
        CacheCorruptError: A run's record is damaged.
    """
    if path is None:
        return None
    if path.name == "run.json":
        return _ids_of_run(path)
    return [entry.id or Path(entry.path or "").stem for entry in read_entries(str(path))]


def _ids_of_run(record: Path) -> list[str]:
    from ..train.runs.sealed import unseal

    try:
        return [str(one) for one in unseal(read_regular(record))[0]["ids"]]
    except FileNotFoundError:
        raise InputError(f"{record}: No such file or directory") from None
    except (ValueError, KeyError, TypeError) as error:
        helps = f"`avpipe verify {quoted(record.parent)}` says what helps"
        raise CacheCorruptError(f"{record} is damaged ({error}); {helps}") from None


def read_ids_to_take(path: Path | None, option: str = "--ids") -> list[str] | None:
    """Read the ids of an option that has to name some, as `read_ids` does.

    Raises:
        InputError: It names no clip, too.
    """
    ids = read_ids(path)
    if ids == []:
        raise InputError(f"{option} {path} names no clip; it needs an id a line, or a CSV with ids")
    return ids


def hold_out_notices(
    path: Path | None, hold_out: Collection[str], have: Collection[str]
) -> list[str]:
    """Say when a list holds nothing out: mistyped ids would let test clips into training.

    Args:
        path: The list.
        hold_out: Its ids.
        have: Ids in the cache.
    """
    if path is None or set(hold_out) & set(have):
        return []
    return [f"{path} holds out nothing: none of its {len(hold_out)} ids is in the cache"]
