"""Reports as Parquet: the rows of the CSV in typed columns, a report in row groups of its own."""

from __future__ import annotations

from collections.abc import Iterable
from importlib.util import find_spec
from itertools import islice
from pathlib import Path

from marey.errors import MissingExtraError
from marey.outputs.text import CSV_COLUMNS, rows
from marey.types import Report

_GROUP = 20_000  # rows in memory at once


def require_pyarrow() -> None:
    """Raise MissingExtraError with the line that installs what is missing."""
    if find_spec("pyarrow") is None:
        raise MissingExtraError("Parquet needs pyarrow", do="Run: pip install 'marey[parquet]'")


def write_parquet(reports: Iterable[Report], path: Path) -> None:
    require_pyarrow()
    import pyarrow as pa
    from pyarrow.parquet import ParquetWriter

    kinds = {
        **dict.fromkeys(CSV_COLUMNS, pa.float32()),
        **dict.fromkeys(("video", "scope", "label"), pa.string()),
        **dict.fromkeys(("start", "end"), pa.float64()),
        **dict.fromkeys(("rank", "id"), pa.int32()),
        "seen": pa.bool_(),
    }
    schema = pa.schema(list(kinds.items()))
    with ParquetWriter(path, schema) as writer:
        for report in reports:
            left = rows(report)
            while some := list(islice(left, _GROUP)):
                columns = dict(zip(CSV_COLUMNS, zip(*some, strict=True), strict=True))
                writer.write_table(pa.Table.from_pydict(columns, schema))
