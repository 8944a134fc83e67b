"""Tables in memory that speak Arrow's C interface: polars, pyarrow, DuckDB and others."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pyarrow as pa

from shoal.errors import BadInputError
from shoal.sources.arrow import Layout, element, features_of, field_of, types_of
from shoal.sources.arrow_rows import Builder
from shoal.sources.columns import Columns
from shoal.sources.index import written_index
from shoal.sources.rows import Rows

#: Name of a column that has none.
NAMELESS = "0"


def read_table(data: Any, columns: Columns, name: str) -> Rows:
    """Rows of a table, or of one column of lists; copied once, a whole column of lists not at all.

    Nulls are missing values.
    """
    try:
        table = _imported(data)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise BadInputError(
            f"{name} is a {type(data).__name__} that pyarrow cannot read: {error}. Cast its "
            "columns to float64, or leave out those that it cannot"
        ) from error
    nameless = not isinstance(table, pa.Table)
    if nameless:
        if columns.needs_names():
            raise BadInputError(
                f"feature_columns and weight_column name columns, but {name} is one column "
                "without a name: pass a table, or name no columns"
            )
        if not element(table.type)[1]:
            cure = "It must be a table, or a column of lists"
            if hasattr(data, "to_frame"):  # a series of polars
                cure = "Use .to_frame().transpose() for one row, .to_frame() for one column"
            raise BadInputError(f"{name} is one column of {table.type}. {cure}")
        table, columns = pa.table({NAMELESS: table}), Columns()
    found = types_of(table.schema, name)
    columns = columns.spelled(found)
    fields = [
        field_of(one, found[one], table.column(one).chunks, f"{name}")
        for one in features_of(
            found, columns, name, leave_out=False, index=written_index(table.schema.metadata)
        )
    ]
    layout = Layout(tuple(fields), columns.weights, name)
    rows = _filled(layout, {one: table.column(one) for one in layout.used}, table.num_rows)
    return replace(rows, columns=(), widths=()) if nameless else rows


def _imported(data: Any) -> Any:
    """A pyarrow table or, for what is one column, a chunked array; no copy."""
    if isinstance(data, (pa.Table, pa.ChunkedArray)):
        return data
    if isinstance(data, pa.Array):
        return pa.chunked_array([data])
    if isinstance(data, pa.RecordBatch):
        return pa.Table.from_batches([data])
    if not hasattr(data, "__arrow_c_stream__"):
        return pa.Table.from_batches([pa.record_batch(data)])
    if hasattr(data, "columns"):
        return pa.table(data)
    try:
        return pa.table(data)
    except (pa.ArrowInvalid, TypeError):
        return pa.chunked_array(data)  # a series


def _filled(layout: Layout, columns: dict[str, Any], rows: int) -> Rows:
    """Copy the columns; each is let go when it has been used."""
    builder = Builder(layout, rows)
    start = 0
    for field in layout.fields:
        row = 0
        chunks = columns[field.name].chunks
        if field.name != layout.weight:
            del columns[field.name]
        for chunk in chunks:
            builder.put(field, chunk, row, start)
            row += len(chunk)
        start += 1 if field.width is None else field.width
    if layout.weight is not None:
        row = 0
        for chunk in columns[layout.weight].chunks:
            builder.put_weights(chunk, row)
            row += len(chunk)
    return builder.rows()
