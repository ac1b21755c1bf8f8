"""C level of the tag store, for kernels that run without the GIL."""

from libc.stdint cimport int32_t, int64_t, uint16_t, uint32_t, uint64_t, uint8_t

cdef enum:
    BLOCK = 1024
    OVERRIDES = 512

cdef struct Columns:
    double value[1024]
    int64_t source_utc_ns[1024]
    int64_t received_mono_ns[1024]
    uint16_t quality[1024]

cdef struct Block:
    uint64_t sequence          # even: copy 0 is stable; odd: copy 1 is
    uint64_t pad[7]
    Columns copy[2]

cdef struct Override:
    int32_t tag_id
    uint16_t quality
    uint16_t pad
    double value
    int64_t source_utc_ns
    int64_t received_mono_ns   # 0: as fresh as its reader
    int64_t until_mono_ns

cdef struct OverrideSet:
    int64_t n
    int64_t pad[7]
    Override entry[512]        # by tag_id, ascending

cdef struct Common:
    uint64_t sequence          # latch of the overrides, as a block's
    uint64_t quality_flags     # put ORs them into every quality
    uint64_t pad[6]
    OverrideSet copy[2]

cdef class StoreView:
    cdef Block* blocks
    cdef Common* common
    cdef const int64_t* stale_after_ns
    cdef readonly Py_ssize_t n_blocks
    cdef readonly Py_ssize_t n
    cdef object _buffer
    cdef object _stale
    cdef object _common
    cdef const uint8_t[::1] _bytes
    cdef const uint8_t[::1] _common_bytes

    cdef void gather(self, const int32_t* ids, Py_ssize_t k, int64_t now_mono_ns,
                     double* value, uint16_t* quality, int64_t* source_utc_ns,
                     int64_t* received_mono_ns) noexcept nogil
    cdef void put(self, const int32_t* ids, Py_ssize_t k, const double* value, const uint16_t* quality,
                  const int64_t* source_utc_ns, int64_t received_mono_ns) noexcept nogil
    cdef void _override_many(self, const int32_t* ids, Py_ssize_t k, int64_t now_mono_ns, double* value,
                             uint16_t* quality, int64_t* source_utc_ns, int64_t* received_mono_ns) noexcept nogil
    cdef void _override_all(self, int64_t now_mono_ns, double* value, uint16_t* quality, int64_t* source_utc_ns,
                            int64_t* received_mono_ns, uint64_t* seen) noexcept nogil
