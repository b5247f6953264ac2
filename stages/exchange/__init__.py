"""A cache's clips as files of other programs: WebDataset or Parquet. Begin with `run.py`.

A format is a file here with `SUFFIX`, `TABLE`, `write` and `write_table`; see `run.FormatModule`.
"""

from typing import Literal

ExchangeFormat = Literal["webdataset", "parquet"]
WORKERS = 16
"""Loader workers that each get a file of their own, at least."""
MARK = "export.json"
"""What an export is of."""
