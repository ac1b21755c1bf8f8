# gwanje: flags -ffp-contract=off
"""Numbers in registers to values and qualities: tables compiled once, a whole batch of reads decoded in one call.

A :class:`CellTable` says for each quantity of one read where its number lies, how its bits are read, which pattern means
"not implemented", where its scale factor lies and what is plausible. Scale factors are resolved anew in every read: a
device may change them. What is not plainly good is judged in one fixed order, the worst reason wins.

Twin: ``reference/register_cells.py``. Types and patterns: SunSpec Device Information Model Specification v1.1.
"""

import numpy as np

from libc.math cimport INFINITY, NAN, isfinite
from libc.stdint cimport int16_t, int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy

Row = tuple

cdef enum:
    UNSIGNED = 0
    SIGNED = 1
    FLOAT = 2
    SCALE_MISSING = 0x8000
    SCALE_MAX = 10

cdef uint16_t BAD = 0x8000
cdef uint16_t UNCERTAIN = 0x4000
cdef uint16_t OUT_OF_RANGE = 2
cdef uint16_t DEVICE_FAILURE = 4
cdef uint16_t CONFIG = 512
cdef uint16_t NOT_IMPLEMENTED = 16

cdef double[11] TENS
for _k in range(11):
    TENS[_k] = 10.0 ** _k

cdef struct Cell:
    int32_t offset             # words from the first of the read
    int32_t scale_offset       # of the scale factor, −1 without one
    uint8_t form
    uint8_t n                  # words: 1, 2 or 4
    uint8_t swapped            # low word first
    uint8_t has_missing
    uint8_t nan_is_missing
    uint8_t shift
    uint64_t missing           # pattern that means "not implemented"
    uint64_t mask              # bits that count, 0 for all
    double multiply            # fixed power of ten …
    double divide              # … or its inverse: dividing keeps decimal fractions exact
    double scale
    double offset_value
    double low
    double high


cdef inline void _decode(const Cell* cell, const uint16_t* words, uint16_t good, double* value,
                         uint16_t* quality) noexcept nogil:
    cdef uint64_t raw = 0
    cdef uint32_t half
    cdef float single
    cdef double number, multiply = cell.multiply, divide = cell.divide, found
    cdef uint16_t problem = 0, register_
    cdef int k, exponent
    cdef const uint16_t* at = words + cell.offset
    if cell.n == 1:
        raw = at[0]
    elif cell.swapped:
        for k in range(cell.n - 1, -1, -1):
            raw = raw << 16 | at[k]
    else:
        for k in range(cell.n):
            raw = raw << 16 | at[k]
    if cell.has_missing and raw == cell.missing:
        value[0], quality[0] = NAN, BAD | NOT_IMPLEMENTED | (good & ~UNCERTAIN)
        return
    if cell.form == UNSIGNED:
        if cell.mask:
            raw = (raw & cell.mask) >> cell.shift
        number = <double>raw
    elif cell.form == SIGNED:
        if cell.n == 1:
            number = <double><int16_t>raw
        elif cell.n == 2:
            number = <double><int32_t>raw
        else:
            number = <double><int64_t>raw
    elif cell.n == 2:
        half = <uint32_t>raw
        memcpy(&single, &half, sizeof(float))
        number = single
    else:
        memcpy(&number, &raw, sizeof(double))
    if cell.nan_is_missing and number != number:
        value[0], quality[0] = NAN, BAD | NOT_IMPLEMENTED | (good & ~UNCERTAIN)
        return
    if cell.scale_offset >= 0:
        register_ = words[cell.scale_offset]
        exponent = <int16_t>register_
        if register_ == SCALE_MISSING:
            problem = UNCERTAIN | CONFIG
            multiply, divide = 1.0, 1.0
        elif exponent > SCALE_MAX or exponent < -SCALE_MAX:
            value[0], quality[0] = NAN, BAD | CONFIG | (good & ~UNCERTAIN)
            return
        elif exponent >= 0:
            multiply, divide = TENS[exponent], 1.0
        else:
            multiply, divide = 1.0, TENS[-exponent]
    found = number * multiply / divide * cell.scale + cell.offset_value
    if not isfinite(found):
        value[0], quality[0] = NAN, BAD | DEVICE_FAILURE | (good & ~UNCERTAIN)
        return
    if not (cell.low <= found <= cell.high):
        problem |= UNCERTAIN | OUT_OF_RANGE
    value[0], quality[0] = found, good | problem


cdef class CellTable:
    """The quantities of one read, in a fixed order.

    Args:
        cells: rows of (offset, form, n, swapped, missing or None, nan_is_missing, mask, shift, scale offset or −1,
            exponent, scale, offset, low, high); form is 0 unsigned, 1 signed, 2 floating.
        good: bits that every value carries.
        count: registers of the read; no cell reaches beyond.

    Raises:
        ValueError: a cell that cannot be.
    """

    cdef Cell* cells
    cdef readonly int n
    cdef readonly int count
    cdef uint16_t good

    def __cinit__(self, cells, int good, int count):
        cdef Cell* cell
        self.n, self.good, self.count = len(cells), good, count
        self.cells = <Cell*>calloc(max(self.n, 1), sizeof(Cell))
        if self.cells is NULL:
            raise MemoryError
        for k, row in enumerate(cells):
            (offset, form, n, swapped, missing, nan_is_missing, mask, shift, scale_offset, exponent, scale,
             offset_value, low, high) = row
            if form not in (0, 1, 2) or n not in (1, 2, 4) or (form == 2 and n == 1) or not 0 <= shift < 64:
                raise ValueError(f"cell {k}: no number has form {form} in {n} registers")
            if not (0 <= offset and offset + n <= count and -1 <= scale_offset < count):
                raise ValueError(f"cell {k}: registers {offset}…{offset + n - 1} are not in a read of {count}")
            if not -SCALE_MAX <= exponent <= SCALE_MAX:
                raise ValueError(f"cell {k}: 10^{exponent} is no scale")
            cell = &self.cells[k]
            cell.offset, cell.form, cell.n, cell.swapped = offset, form, n, bool(swapped)
            cell.has_missing, cell.missing = missing is not None, 0 if missing is None else missing
            cell.nan_is_missing, cell.mask, cell.shift, cell.scale_offset = nan_is_missing, mask, shift, scale_offset
            cell.multiply, cell.divide = 10.0 ** max(exponent, 0), 10.0 ** max(-exponent, 0)
            cell.scale, cell.offset_value, cell.low, cell.high = scale, offset_value, low, high

    def __dealloc__(self):
        free(self.cells)

    cdef void row(self, const uint16_t* words, double* values, uint16_t* quality) noexcept nogil:
        cdef int k
        for k in range(self.n):
            _decode(&self.cells[k], words, self.good, &values[k], &quality[k])

    def decode(self, const uint8_t[::1] data):
        """Values (n,) and qualities (n,) of one read.

        Args:
            data: bytes of the read, big-endian; what is behind the last cell is not looked at.

        Raises:
            ValueError: too few.
        """
        cdef uint16_t[256] words
        cdef int k
        if data.shape[0] < 2 * self.count or self.count > 256:
            raise ValueError(f"{data.shape[0]} bytes are not a read of {self.count} registers")
        for k in range(self.count):
            words[k] = data[2 * k] << 8 | data[2 * k + 1]
        values, quality = np.empty(self.n, np.float64), np.empty(self.n, np.uint16)
        cdef double[::1] to = values
        cdef uint16_t[::1] bits = quality
        if self.n:
            self.row(words, &to[0], &bits[0])
        return values, quality

    def decode_rows(self, const uint16_t[:, ::1] words, double[:, ::1] values, uint16_t[:, ::1] quality):
        """The same read of many devices at once.

        Args:
            words: IN (rows, ≥ count) registers.
            values: OUT (rows, n).
            quality: OUT (rows, n).
        """
        cdef Py_ssize_t k, rows = words.shape[0]
        if (words.shape[1] < self.count or values.shape[0] != rows or quality.shape[0] != rows
                or values.shape[1] != self.n or quality.shape[1] != self.n):
            raise ValueError("the arrays do not fit the table")
        if self.n == 0 or rows == 0:
            return
        with nogil:
            for k in range(rows):
                self.row(&words[k, 0], &values[k, 0], &quality[k, 0])


def decode_blocks(list tables, const uint16_t[:, ::1] words, double[::1] values, uint16_t[::1] quality):
    """Reads of different kinds in one call, one after another.

    Args:
        tables: a :class:`CellTable` for each row.
        words: IN (rows, ≥ count of each) registers.
        values: OUT (sum of n,).
        quality: OUT (sum of n,).

    Raises:
        ValueError: the arrays do not fit.
    """
    cdef Py_ssize_t k, at = 0
    cdef CellTable table
    if len(tables) != words.shape[0] or values.shape[0] != quality.shape[0]:
        raise ValueError("the arrays do not fit the tables")
    for k in range(len(tables)):
        table = tables[k]
        if table.count > words.shape[1] or at + table.n > values.shape[0]:
            raise ValueError("the arrays do not fit the tables")
        if table.n:
            table.row(&words[k, 0], &values[at], &quality[at])
        at += table.n
    if at != values.shape[0]:
        raise ValueError("the arrays do not fit the tables")
