"""Reports as Parquet: the rows of the CSV in typed columns, a row group a report."""

from __future__ import annotations

from collections.abc import Iterable
from importlib.util import find_spec
from pathlib import Path

from marey.errors import MissingExtraError
from marey.outputs.text import CSV_COLUMNS, rows
from marey.types import Report


def require_pyarrow() -> None:
    """Raise MissingExtraError with the line that installs what is missing."""
    if find_spec("pyarrow") is None:
        raise MissingExtraError("Parquet needs pyarrow", do="Run: pip install 'marey[parquet]'")


def write_parquet(reports: Iterable[Report], path: Path) -> None:
    require_pyarrow()
    import pyarrow as pa
    from pyarrow.parquet import ParquetWriter

    kinds = (pa.string(), pa.string(), pa.float64(), pa.float64(), pa.int32(), pa.string())
    schema = pa.schema(list(zip(CSV_COLUMNS, (*kinds, pa.float32()), strict=True)))
    with ParquetWriter(path, schema) as writer:
        for report in reports:
            table = [dict(zip(CSV_COLUMNS, row, strict=True)) for row in rows(report)]
            writer.write_table(pa.Table.from_pylist(table, schema))
