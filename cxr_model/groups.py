"""Groups of images by view, sex and age: a mean can hide whom a model serves badly."""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import pandas as pd

UNKNOWN = "unknown"

# Only these words reach a table, whatever was in the cells.
_VALUES = {"view": ("PA", "AP"), "sex": ("F", "M")}
_AGES = ((0, 18), (18, 40), (40, 60), (60, 80), (80, 120))


def groups(table: pd.DataFrame) -> Iterator[tuple[str, str, npt.NDArray[np.bool_]]]:
    """Name of the grouping, name of the group and its rows (n,), for each that has rows.

    `table` may have the columns ``view``, ``sex`` and ``age`` (years); other values than the
    usual ones are one group, ``unknown``.
    """
    for column, values in _VALUES.items():
        if column in table:
            cells = table[column].astype(str).str.strip().str.upper()
            yield from _present(column, cells.where(cells.isin(values), UNKNOWN))
    if "age" in table:
        yield from _present("age", _age_groups(table["age"]))


def _age_groups(ages: pd.Series) -> pd.Series:
    years = pd.to_numeric(ages, errors="coerce")
    named = pd.Series(UNKNOWN, index=ages.index)
    for low, high in _AGES:
        named[(years >= low) & (years < high)] = f"{low} to {high - 1}"
    return named


def _present(group: str, cells: pd.Series) -> Iterator[tuple[str, str, npt.NDArray[np.bool_]]]:
    for value in sorted(cells.unique(), key=_order):
        yield group, str(value), (cells == value).to_numpy()


def _order(value: str) -> tuple[bool, int, str]:
    first = value.split()[0]
    return value == UNKNOWN, int(first) if first.isdigit() else 0, value
