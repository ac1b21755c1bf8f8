"""Columns, rows and entries of a sparse linear programme, laid out once; afterwards only numbers change."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.sparse import csc_matrix

from gwanje.control.microgrid.planner.assets import Floats

Index = npt.NDArray[np.int64]
Span = slice


@dataclass(slots=True)
class Vectors:
    """The numbers of a programme: minimise ``cost·x + offset`` with bounds on columns and rows.

    Attributes:
        cost: (n_columns,).
        lower: (n_columns,).
        upper: (n_columns,).
        row_lower: (n_rows,).
        row_upper: (n_rows,).
        entries: (n_entries,) of the matrix, in the order in which they were laid out.
        offset: money that does not depend on the plan.
    """

    cost: Floats
    lower: Floats
    upper: Floats
    row_lower: Floats
    row_upper: Floats
    entries: Floats
    offset: float = 0.0


class Layout:
    """Collects a pattern; :meth:`freeze` makes it a matrix whose entries can be set anew."""

    def __init__(self) -> None:
        self.n_columns = 0
        self.n_rows = 0
        self._n_entries = 0
        self._rows: list[Index] = []
        self._columns: list[Index] = []
        self._fixed: list[tuple[Span, Floats]] = []
        self.binaries: list[Span] = []

    def columns(self, n: int, binary: bool = False) -> Span:
        """New columns; by nature ``binary`` or not."""
        span = slice(self.n_columns, self.n_columns + n)
        self.n_columns += n
        if binary:
            self.binaries.append(span)
        return span

    def rows(self, n: int) -> Span:
        """New rows."""
        span = slice(self.n_rows, self.n_rows + n)
        self.n_rows += n
        return span

    def entries(self, rows: Span, columns: Span, value: float | None = None) -> Span:
        """Entries along the diagonal of two equally long spans, or of all rows to one column.

        Args:
            rows: of the entries.
            columns: of the entries; one column stands for each row.
            value: that never changes; ``None`` when it is filled in later.

        Returns:
            Where they lie in :attr:`Vectors.entries`.
        """
        n = rows.stop - rows.start
        one = columns.stop - columns.start
        assert one in (n, 1), "spans of a diagonal are equally long"
        self._rows.append(np.arange(rows.start, rows.stop))
        at = np.arange(columns.start, columns.stop)
        self._columns.append(at if one == n else np.full(n, columns.start))
        span = slice(self._n_entries, self._n_entries + n)
        self._n_entries += n
        if value is not None:
            self._fixed.append((span, np.full(n, value)))
        return span

    def freeze(self) -> tuple[Vectors, Matrix]:
        """Vectors that bound nothing yet, and the matrix."""
        rows, columns = np.concatenate(self._rows), np.concatenate(self._columns)
        vectors = Vectors(
            np.zeros(self.n_columns),
            np.zeros(self.n_columns),
            np.full(self.n_columns, np.inf),
            np.full(self.n_rows, -np.inf),
            np.full(self.n_rows, np.inf),
            np.zeros(self._n_entries),
        )
        for span, value in self._fixed:
            vectors.entries[span] = value
        return vectors, Matrix(rows, columns, self.n_rows, self.n_columns)


class Matrix:
    """A sparse matrix by columns whose pattern stays; :meth:`fill` gives it new entries without sorting again."""

    def __init__(self, rows: Index, columns: Index, n_rows: int, n_columns: int) -> None:
        order = np.lexsort((rows, columns))
        same = (np.diff(rows[order]) == 0) & (np.diff(columns[order]) == 0)
        assert not same.any(), "an entry was laid out twice"
        starts = np.concatenate([[0], np.cumsum(np.bincount(columns, minlength=n_columns))]).astype(np.int32)
        self._order = order
        self.csc = csc_matrix(
            (np.zeros(len(rows)), rows[order].astype(np.int32), starts), shape=(n_rows, n_columns), copy=False
        )

    def fill(self, entries: Floats) -> csc_matrix:
        """The matrix with these entries; the same object each time."""
        np.take(entries, self._order, out=self.csc.data)
        return self.csc


def before(span: Span) -> Span:
    """All but the last of a span: what the rows of :func:`after` look back at."""
    return slice(span.start, span.stop - 1)


def after(span: Span) -> Span:
    """All but the first of a span."""
    return slice(span.start + 1, span.stop)
