"""Columns that are no measurements: row numbers and names, which pandas and R write into files."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Collection, Sequence
from typing import Any, Protocol

from shoal.errors import BadInputError

logger = logging.getLogger("shoal")


class Asked(Protocol):
    """Which columns are asked for."""

    @property
    def named(self) -> tuple[Any, ...]:
        """Names of the columns to use; () where the data says which there are."""

    @property
    def weight(self) -> Any:
        """Name of the column of weights."""


#: What an index is called: by pandas, where it reads one as a column, or writes one with no name.
_INDEX = re.compile(r"Unnamed: 0(\.\d+)*|__index_level_\d+__")
#: What a column without a name is called: by pandas, and by others.
_NAMELESS = re.compile(r"(Unnamed: \d+)?")


def without_index(
    present: Sequence[Any], columns: Asked, where: str, written: Collection[str] = ()
) -> list[Any]:
    """The columns that may be data: all but an index, unless it is asked for by name.

    It is left out with a warning, where no columns are named.

    Parameters
    ----------
    present
        Names of columns, in their order.
    columns
        What is asked for.
    where
        What the warning calls the data.
    written
        Names of index columns that the data itself tells.

    Raises
    ------
    BadInputError
        If an index is all there is.
    """
    asked = {*columns.named, columns.weight}
    found = {
        one
        for one in present
        if one not in asked and (one in written or (isinstance(one, str) and _INDEX.fullmatch(one)))
    }
    for one in present:  # the levels of an index stand in front
        if one in asked or not (isinstance(one, str) and _NAMELESS.fullmatch(one)):
            break
        found.add(one)
    if not found:
        return list(present)
    rest = [one for one in present if one not in found]
    left_out = ", ".join(repr(one) for one in present if one in found)
    if not columns.named and not any(one != columns.weight for one in rest):
        raise BadInputError(
            f"{where} has no columns but what looks like an index, {left_out}: name it to use it, "
            "with feature_columns, or --columns on the command line"
        )
    if not columns.named:
        logger.warning(
            "%s: left out because %s, row numbers or names and no measurement: column%s %s. To "
            "choose, name the columns to use: --columns on the command line, feature_columns in "
            "Python",
            where,
            "it is an index" if len(found) == 1 else "they are an index",
            "s" * (len(found) > 1),
            left_out,
        )
    return rest


def written_index(metadata: Any) -> list[str]:
    """Columns that pandas wrote as an index, by the metadata of an Arrow schema."""
    try:
        told = json.loads((metadata or {}).get(b"pandas", b"{}"))
        columns = told.get("index_columns", [])
        return [one for one in columns if isinstance(one, str)]  # others are ranges, not stored
    except (ValueError, AttributeError, TypeError, RecursionError):  # not what pandas writes
        return []
