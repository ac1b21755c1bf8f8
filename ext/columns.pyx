"""Columns of a scan as runs: what a column frame (:mod:`gwanje.core.bus.scan`) carries, written and read in one pass.

A scan has neighbouring tags, one time per device and nearly always one quality. So ids are written as ranges, qualities
and source times as runs of equal ones, values as they are; a thousand tags of twenty devices take 8.3 kB, not 22. This
is plain run-length coding; nothing of it is new.

The frame is one msgpack map of five members, in this order and with lengths of these widths only, so that a reader has
to know one form::

    0x85  "n": uint 16      tags, k
          "i": bin 16       runs of (first id uint32, length uint16)
          "q": bin 16       runs of (quality uint16, length uint16)
          "t": bin 16       runs of (source time int64, length uint16)
          "v": bin 16       k values float64

Lengths are big-endian, as msgpack wants them, and what lies in the columns is little-endian; this is compiled for
little-endian machines only. Both directions hold the same rules. What lies is refused as a whole: ids that do not ascend
inside the table, times before 1970, qualities that do not exist, runs of nothing or that do not add up, any other
length. A GOOD or UNCERTAIN that contradicts itself becomes BAD for that tag alone.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy

cimport numpy as cnp

import sys

import numpy as np

cnp.import_array()

if sys.byteorder != "little":
    raise ImportError("column frames are written for little-endian machines")

cdef enum:
    TAGS = 2048                 # at most in a frame; lengths of every column fit into 16 bits then
    HEAD = 26                   # bytes of the map and its keys and lengths
    ID_RUN = 6
    QUALITY_RUN = 4
    TIME_RUN = 10
    AT_ONCE = 32                # elements compared before a run's end is looked for
    SEVERITY = 0xC000
    BAD = 0x8000
    KNOWN = 0xDFFF
    ABSENT = 0x041D             # STALE, DEVICE_FAILURE, COMM, NOT_IMPLEMENTED, NEVER: none goes with GOOD
    BROKEN = 0x8004             # BAD, DEVICE_FAILURE: what is not finite

MAX_TAGS = TAGS
KNOWN_BITS = KNOWN
NO_VALUE = ABSENT
NOT_FINITE = BROKEN

cdef enum Lie:
    NONE, IDS, QUALITY_BITS, QUALITY_SEVERITY, TIME, RUNS

cdef dict WORDS = {
    <int>Lie.IDS: "tag ids are not ascending inside the table",
    <int>Lie.QUALITY_BITS: "a quality has unknown bits",
    <int>Lie.QUALITY_SEVERITY: "a quality is uncertain and bad at once",
    <int>Lie.TIME: "a source time lies before 1970",
    <int>Lie.RUNS: "runs do not add up to the number of tags",
}

ctypedef packed struct IdRun:
    uint32_t first
    uint16_t n

ctypedef packed struct QualityRun:
    uint16_t quality
    uint16_t n

ctypedef packed struct TimeRun:
    int64_t time
    uint16_t n

cdef struct Runs:
    Py_ssize_t n_ids
    Py_ssize_t n_qualities
    Py_ssize_t n_times
    IdRun ids[TAGS]
    QualityRun qualities[TAGS]
    TimeRun times[TAGS]

ctypedef fused id_type:
    int32_t
    uint32_t
    int64_t
    uint64_t

ctypedef fused column_type:
    uint16_t
    int64_t


def encode(ids, values, quality, source_utc_ns):
    """Write the columns of a scan.

    Nothing is copied before it is written when ids are contiguous integers of 32 or 64 bits, values float64, qualities
    uint16 and times int64; what is not is converted first.

    Args:
        ids: (k,) integers, strictly ascending, below 2**32; k at most ``MAX_TAGS``.
        values: (k,).
        quality: (k,) integers.
        source_utc_ns: (k,) integers, not negative.

    Returns:
        The frame.

    Raises:
        ValueError: lengths differ, too many tags, or columns that :func:`decode` would refuse.
        TypeError: ids, qualities or times are no integers.
    """
    cdef cnp.ndarray i = _integers(ids, False)
    cdef cnp.ndarray v = _floats(values)
    cdef cnp.ndarray q = _qualities(quality)
    cdef cnp.ndarray t = _integers(source_utc_ns, True)
    cdef Py_ssize_t k = cnp.PyArray_DIM(i, 0)
    if cnp.PyArray_DIM(v, 0) != k or cnp.PyArray_DIM(q, 0) != k or cnp.PyArray_DIM(t, 0) != k:
        raise ValueError("columns of different length")
    if k > TAGS:
        raise ValueError(f"{k} tags in one frame, at most {TAGS}")
    cdef Runs runs
    cdef int lie = Lie.NONE
    cdef const double* value = <const double*>cnp.PyArray_DATA(v)
    cdef const void* first = cnp.PyArray_DATA(i)
    cdef bint wide = cnp.PyArray_ITEMSIZE(i) == 8
    cdef bint signed_ids = cnp.PyTypeNum_ISSIGNED(cnp.PyArray_TYPE(i))
    with nogil:
        if wide and signed_ids:
            lie = _id_runs(<const int64_t*>first, k, &runs)
        elif wide:
            lie = _id_runs(<const uint64_t*>first, k, &runs)
        elif signed_ids:
            lie = _id_runs(<const int32_t*>first, k, &runs)
        else:
            lie = _id_runs(<const uint32_t*>first, k, &runs)
        if lie == Lie.NONE:
            lie = _quality_runs(<const uint16_t*>cnp.PyArray_DATA(q), value, k, &runs)
        if lie == Lie.NONE:
            lie = _time_runs(<const int64_t*>cnp.PyArray_DATA(t), k, &runs)
    if lie != Lie.NONE:
        raise ValueError(WORDS[lie])
    cdef Py_ssize_t i_bytes = runs.n_ids * ID_RUN
    cdef Py_ssize_t q_bytes = runs.n_qualities * QUALITY_RUN
    cdef Py_ssize_t t_bytes = runs.n_times * TIME_RUN
    cdef bytes frame = PyBytes_FromStringAndSize(NULL, HEAD + i_bytes + q_bytes + t_bytes + 8 * k)
    cdef uint8_t* to = <uint8_t*>PyBytes_AS_STRING(frame)
    to[0] = 0x85
    to = _name(to + 1, c"n", 0xCD, k)
    to = _column(to, c"i", runs.ids, i_bytes)
    to = _column(to, c"q", runs.qualities, q_bytes)
    to = _column(to, c"t", runs.times, t_bytes)
    _column(to, c"v", value, 8 * k)
    return frame


def decode(bytes frame not None, Py_ssize_t n_tags):
    """Read and check the columns of a scan. They are new arrays: a frame belongs to whoever received it.

    Args:
        frame: what arrived.
        n_tags: length of the tag table; ids beyond it are refused.

    Returns:
        ids (k,) uint32, values (k,) float64, qualities (k,) uint16 and source times (k,) int64.

    Raises:
        ValueError: anything about it is wrong.
    """
    cdef const uint8_t* at = <const uint8_t*>PyBytes_AS_STRING(frame)
    cdef Py_ssize_t size = PyBytes_GET_SIZE(frame), left = size - 1
    cdef Py_ssize_t k, i_bytes, q_bytes, t_bytes, v_bytes
    cdef const uint8_t* id_runs
    cdef const uint8_t* quality_runs
    cdef const uint8_t* time_runs
    if size < HEAD or at[0] != 0x85:
        raise ValueError("not a map of five columns")
    at += 1
    k = _take(&at, &left, c"n", 0xCD)
    if k < 0 or k > TAGS:
        raise ValueError("no number of tags" if k < 0 else f"{k} tags in one frame, at most {TAGS}")
    i_bytes = _take(&at, &left, c"i", 0xC5)
    id_runs = at
    _pass(&at, &left, i_bytes)
    q_bytes = _take(&at, &left, c"q", 0xC5)
    quality_runs = at
    _pass(&at, &left, q_bytes)
    t_bytes = _take(&at, &left, c"t", 0xC5)
    time_runs = at
    _pass(&at, &left, t_bytes)
    v_bytes = _take(&at, &left, c"v", 0xC5)
    if i_bytes < 0 or q_bytes < 0 or t_bytes < 0 or v_bytes < 0 or left != v_bytes:
        raise ValueError("columns are missing, in another order, cut off, or more than they say")
    if v_bytes != 8 * k or i_bytes % ID_RUN or q_bytes % QUALITY_RUN or t_bytes % TIME_RUN:
        raise ValueError(f"columns are not whole runs of {k} tags")
    cdef cnp.npy_intp n = k
    cdef cnp.ndarray ids = cnp.PyArray_EMPTY(1, &n, cnp.NPY_UINT32, 0)
    cdef cnp.ndarray values = cnp.PyArray_EMPTY(1, &n, cnp.NPY_FLOAT64, 0)
    cdef cnp.ndarray quality = cnp.PyArray_EMPTY(1, &n, cnp.NPY_UINT16, 0)
    cdef cnp.ndarray times = cnp.PyArray_EMPTY(1, &n, cnp.NPY_INT64, 0)
    cdef double* value = <double*>cnp.PyArray_DATA(values)
    cdef int lie
    with nogil:
        memcpy(value, at, v_bytes)
        lie = _ids_of(id_runs, i_bytes // ID_RUN, n_tags, <uint32_t*>cnp.PyArray_DATA(ids), k)
        if lie == Lie.NONE:
            lie = _qualities_of(quality_runs, q_bytes // QUALITY_RUN, value, <uint16_t*>cnp.PyArray_DATA(quality), k)
        if lie == Lie.NONE:
            lie = _times_of(time_runs, t_bytes // TIME_RUN, <int64_t*>cnp.PyArray_DATA(times), k)
    if lie != Lie.NONE:
        raise ValueError(WORDS[lie])
    return ids, values, quality, times


# ---------------------------------------------------------------- columns that come in


cdef cnp.ndarray _integers(object column, bint times):
    """A contiguous array of integers of 4 or 8 bytes; for ``times`` signed ones of 8. Mostly it is the same one."""
    cdef cnp.ndarray array
    cdef int kind
    if cnp.PyArray_Check(column) and cnp.PyArray_ISCARRAY_RO(column) and cnp.PyArray_NDIM(column) == 1:
        array = column
        kind = cnp.PyArray_TYPE(array)
        if cnp.PyTypeNum_ISSIGNED(kind) if times else cnp.PyTypeNum_ISINTEGER(kind):
            if cnp.PyArray_ITEMSIZE(array) == 8 or not times and cnp.PyArray_ITEMSIZE(array) == 4:
                return array
    whole = np.asarray(column)
    if whole.dtype.kind not in "iu" or whole.ndim != 1:
        raise TypeError("ids, qualities and times are columns of integers")
    if whole.dtype.kind == "u" and whole.dtype.itemsize == 8 and whole.size and int(whole.max()) >= 2**63:
        raise ValueError("an id, a quality or a time is beyond 2**63")
    return np.ascontiguousarray(whole, np.int64)


cdef cnp.ndarray _floats(object column):
    if cnp.PyArray_Check(column) and cnp.PyArray_ISCARRAY_RO(column) and cnp.PyArray_TYPE(column) == cnp.NPY_FLOAT64:
        if cnp.PyArray_NDIM(column) == 1:
            return column
    whole = np.ascontiguousarray(column, np.float64)
    if whole.ndim != 1:
        raise ValueError("values are one column")
    return whole


cdef cnp.ndarray _qualities(object column):
    if cnp.PyArray_Check(column) and cnp.PyArray_ISCARRAY_RO(column) and cnp.PyArray_TYPE(column) == cnp.NPY_UINT16:
        if cnp.PyArray_NDIM(column) == 1:
            return column
    whole = np.asarray(_integers(column, True))
    if whole.size and (int(whole.min()) < 0 or int(whole.max()) > 0xFFFF):
        raise ValueError(WORDS[<int>Lie.QUALITY_BITS])
    return whole.astype(np.uint16)


# ---------------------------------------------------------------- runs from columns


cdef Py_ssize_t _alike(const column_type* column, Py_ssize_t begin, Py_ssize_t k) noexcept nogil:
    """End of the run of equal elements that begins here."""
    cdef column_type first = column[begin], differs
    cdef Py_ssize_t end = begin + 1, j
    if end < k and column[end] != first:
        return end
    while end + AT_ONCE <= k:
        differs = 0
        for j in range(AT_ONCE):
            differs |= column[end + j] ^ first
        if differs:
            break
        end += AT_ONCE
    while end < k and column[end] == first:
        end += 1
    return end


cdef int _id_runs(const id_type* ids, Py_ssize_t k, Runs* runs) noexcept nogil:
    cdef Py_ssize_t begin = 0, end, j
    cdef int64_t last = -1
    cdef id_type differs
    cdef uint64_t first
    runs.n_ids = 0
    while begin < k:
        if <int64_t>ids[begin] <= last:         # beyond 2**63 it is negative
            return Lie.IDS
        first = <uint64_t>ids[begin]
        end = begin + 1
        if end < k and <uint64_t>ids[end] == first + 1:
            while end + AT_ONCE <= k:
                differs = 0
                for j in range(AT_ONCE):
                    differs |= ids[end + j] ^ <id_type>(first + <uint64_t>(end - begin + j))
                if differs:
                    break
                end += AT_ONCE
            while end < k and <uint64_t>ids[end] == first + <uint64_t>(end - begin):
                end += 1
        last = <int64_t>first + (end - begin) - 1
        if last >> 32:
            return Lie.IDS
        runs.ids[runs.n_ids] = IdRun(<uint32_t>first, <uint16_t>(end - begin))
        runs.n_ids += 1
        begin = end
    return Lie.NONE


cdef int _quality_runs(const uint16_t* quality, const double* value, Py_ssize_t k, Runs* runs) noexcept nogil:
    cdef Py_ssize_t begin = 0, end, j
    cdef uint16_t believed
    cdef int lie
    runs.n_qualities = 0
    while begin < k:
        end = _alike(quality, begin, k)
        believed = quality[begin]
        lie = _believable(&believed)
        if lie != Lie.NONE:
            return lie
        if quality[begin] & BAD or _all_finite(value + begin, end - begin):
            _one_more(runs, believed, end - begin)
        else:
            for j in range(begin, end):
                _one_more(runs, believed if _all_finite(value + j, 1) else _broken(believed), 1)
        begin = end
    return Lie.NONE


cdef inline void _one_more(Runs* runs, uint16_t quality, Py_ssize_t n) noexcept nogil:
    """One more run, or a longer one."""
    cdef Py_ssize_t last = runs.n_qualities - 1
    if last >= 0 and runs.qualities[last].quality == quality:
        runs.qualities[last].n += <uint16_t>n
        return
    runs.qualities[last + 1] = QualityRun(quality, <uint16_t>n)
    runs.n_qualities = last + 2


cdef int _time_runs(const int64_t* times, Py_ssize_t k, Runs* runs) noexcept nogil:
    cdef Py_ssize_t begin = 0, end
    runs.n_times = 0
    while begin < k:
        if times[begin] < 0:
            return Lie.TIME
        end = _alike(times, begin, k)
        runs.times[runs.n_times] = TimeRun(times[begin], <uint16_t>(end - begin))
        runs.n_times += 1
        begin = end
    return Lie.NONE


# ---------------------------------------------------------------- columns from runs


cdef int _ids_of(const uint8_t* at, Py_ssize_t n_runs, Py_ssize_t n_tags, uint32_t* ids, Py_ssize_t k) noexcept nogil:
    cdef Py_ssize_t done = 0, index, j
    cdef int64_t last = -1
    cdef IdRun run
    for index in range(n_runs):
        memcpy(&run, at + index * ID_RUN, ID_RUN)
        if run.n == 0 or done + run.n > k:
            return Lie.RUNS
        if <int64_t>run.first <= last or <int64_t>run.first + run.n > n_tags:
            return Lie.IDS
        for j in range(run.n):
            ids[done + j] = run.first + <uint32_t>j
        done += run.n
        last = <int64_t>run.first + run.n - 1
    return Lie.NONE if done == k else Lie.RUNS


cdef int _qualities_of(const uint8_t* at, Py_ssize_t n_runs, const double* value, uint16_t* quality,
                       Py_ssize_t k) noexcept nogil:
    cdef Py_ssize_t done = 0, index, j
    cdef uint16_t believed
    cdef QualityRun run
    cdef int lie
    for index in range(n_runs):
        memcpy(&run, at + index * QUALITY_RUN, QUALITY_RUN)
        if run.n == 0 or done + run.n > k:
            return Lie.RUNS
        believed = run.quality
        lie = _believable(&believed)
        if lie != Lie.NONE:
            return lie
        for j in range(run.n):
            quality[done + j] = believed
        if not run.quality & BAD and not _all_finite(value + done, run.n):
            for j in range(done, done + run.n):
                if not _all_finite(value + j, 1):
                    quality[j] = _broken(believed)
        done += run.n
    return Lie.NONE if done == k else Lie.RUNS


cdef int _times_of(const uint8_t* at, Py_ssize_t n_runs, int64_t* times, Py_ssize_t k) noexcept nogil:
    cdef Py_ssize_t done = 0, index, j
    cdef TimeRun run
    for index in range(n_runs):
        memcpy(&run, at + index * TIME_RUN, TIME_RUN)
        if run.n == 0 or done + run.n > k:
            return Lie.RUNS
        if run.time < 0:
            return Lie.TIME
        for j in range(run.n):
            times[done + j] = run.time
        done += run.n
    return Lie.NONE if done == k else Lie.RUNS


# ---------------------------------------------------------------- what can be believed


cdef inline int _believable(uint16_t* quality) noexcept nogil:
    """Check a quality; a GOOD whose reasons say that there is no value becomes BAD."""
    if quality[0] & ~KNOWN:
        return Lie.QUALITY_BITS
    if (quality[0] & SEVERITY) == SEVERITY:
        return Lie.QUALITY_SEVERITY
    if not quality[0] & SEVERITY and quality[0] & ABSENT:
        quality[0] |= BAD
    return Lie.NONE


cdef inline uint16_t _broken(uint16_t quality) noexcept nogil:
    """What a GOOD or UNCERTAIN becomes whose value is not finite."""
    return (quality & <uint16_t>~SEVERITY) | BROKEN


cdef bint _all_finite(const double* value, Py_ssize_t n) noexcept nogil:
    """Whether n values are finite: one more in the exponent runs over into the sign where it was full."""
    cdef uint64_t over = 0, bits
    cdef Py_ssize_t j
    for j in range(n):
        memcpy(&bits, value + j, 8)
        over |= (bits & <uint64_t>0x7FFFFFFFFFFFFFFF) + <uint64_t>0x0010000000000000
    return over >> 63 == 0


# ---------------------------------------------------------------- msgpack


cdef inline uint8_t* _name(uint8_t* to, char key, uint8_t form, Py_ssize_t number) noexcept nogil:
    """A key of one letter, the form of what follows, and a number of two bytes."""
    to[0] = 0xA1
    to[1] = <uint8_t>key
    to[2] = form
    to[3] = <uint8_t>(number >> 8)
    to[4] = <uint8_t>(number & 0xFF)
    return to + 5


cdef inline uint8_t* _column(uint8_t* to, char key, const void* content, Py_ssize_t n_bytes) noexcept nogil:
    to = _name(to, key, 0xC5, n_bytes)
    if n_bytes:
        memcpy(to, content, n_bytes)
    return to + n_bytes


cdef inline Py_ssize_t _take(const uint8_t** at, Py_ssize_t* left, char key, uint8_t form) noexcept nogil:
    """The number behind a key; -1 when something else stands there, and nothing can be taken any more."""
    cdef const uint8_t* one = at[0]
    if left[0] < 5 or one[0] != 0xA1 or one[1] != <uint8_t>key or one[2] != form:
        left[0] = -1
        return -1
    at[0] = one + 5
    left[0] -= 5
    return (<Py_ssize_t>one[3] << 8) | one[4]


cdef inline void _pass(const uint8_t** at, Py_ssize_t* left, Py_ssize_t n_bytes) noexcept nogil:
    """Pass over a column; what is cut off leaves nothing to take."""
    if n_bytes < 0 or n_bytes > left[0]:
        left[0] = -1
        return
    at[0] += n_bytes
    left[0] -= n_bytes
