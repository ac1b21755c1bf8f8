"""Tag store: columns in shared memory, one writer per block, readers that never wait.

Each block of 1024 tags holds two copies of its columns and a sequence number. The writer fills the copy that readers
do not look at, then turns the sequence (release); it brings the other copy up to date right after, before the next
write. A reader copies from the stable side and looks at the sequence again: it repeats only when the writer turned
twice meanwhile. This is the latch of Linux's ``raw_write_seqcount_latch``: a reader that meets a preempted or killed
writer finds a whole copy all the same, which a plain sequence lock cannot promise.

A writer may be killed between two stores. The sequence then still names the copy that was whole; :meth:`StoreView.heal`
copies it over the other one before a new writer starts.

x86-64 and the C11 atomics of GCC give the ordering; nothing here is tested on ARM.
"""

from libc.stdint cimport int32_t, int64_t, uint16_t, uint64_t, uint8_t, uintptr_t
from libc.string cimport memcpy

cdef extern from *:
    """
    #include <stdint.h>
    static inline uint64_t gw_load(const uint64_t* p) { return __atomic_load_n(p, __ATOMIC_ACQUIRE); }
    static inline void gw_store(uint64_t* p, uint64_t v) { __atomic_store_n(p, v, __ATOMIC_RELEASE); }
    static inline void gw_fence(void) { __atomic_thread_fence(__ATOMIC_ACQUIRE); }
    static inline void gw_fence_release(void) { __atomic_thread_fence(__ATOMIC_RELEASE); }
    """
    uint64_t gw_load(const uint64_t* p) noexcept nogil
    void gw_store(uint64_t* p, uint64_t v) noexcept nogil
    void gw_fence() noexcept nogil
    void gw_fence_release() noexcept nogil

cdef uint16_t BAD_STALE = 0x8001

BLOCK_BYTES = sizeof(Block)


cdef class StoreView:
    """Blocks of a mapped buffer.

    Args:
        buffer: writable buffer of ``n_blocks * BLOCK_BYTES`` bytes, 64-byte aligned.
        stale_after_ns: (n,) age at which each tag is stale, 0 for never; n = 1024 * n_blocks.

    Raises:
        ValueError: sizes do not fit.
    """

    def __init__(self, uint8_t[::1] buffer not None, const int64_t[::1] stale_after_ns not None):
        if buffer.shape[0] % sizeof(Block) != 0 or buffer.shape[0] == 0:
            raise ValueError(f"buffer of {buffer.shape[0]} bytes is not a whole number of blocks")
        self.n_blocks = buffer.shape[0] // sizeof(Block)
        self.n = self.n_blocks * BLOCK
        if stale_after_ns.shape[0] != self.n:
            raise ValueError(f"{stale_after_ns.shape[0]} stale periods for {self.n} tags")
        if (<uintptr_t>&buffer[0]) % 8 != 0:
            raise ValueError("buffer is not aligned")
        self._buffer = buffer
        self._bytes = buffer
        self._stale = stale_after_ns
        self.blocks = <Block*>&buffer[0]
        self.stale_after_ns = &stale_after_ns[0]

    cdef void gather(self, const int32_t* ids, Py_ssize_t k, int64_t now_mono_ns,
                     double* value, uint16_t* quality, int64_t* source_utc_ns,
                     int64_t* received_mono_ns) noexcept nogil:
        """Read k tags. Runs of ids inside one block are read from one stable copy."""
        cdef Py_ssize_t begin = 0, end, i, offset
        cdef int32_t block_index
        cdef Block* block
        cdef Columns* side
        cdef uint64_t sequence
        cdef int64_t limit
        while begin < k:
            block_index = ids[begin] // BLOCK
            end = begin + 1
            while end < k and ids[end] // BLOCK == block_index:
                end += 1
            block = &self.blocks[block_index]
            while True:
                sequence = gw_load(&block.sequence)
                side = &block.copy[sequence & 1]
                for i in range(begin, end):
                    offset = ids[i] % BLOCK
                    value[i] = side.value[offset]
                    quality[i] = side.quality[offset]
                    source_utc_ns[i] = side.source_utc_ns[offset]
                    received_mono_ns[i] = side.received_mono_ns[offset]
                gw_fence()
                if gw_load(&block.sequence) == sequence:
                    break
            begin = end
        if now_mono_ns > 0:
            for i in range(k):
                limit = self.stale_after_ns[ids[i]]
                if limit > 0 and now_mono_ns - received_mono_ns[i] > limit:
                    quality[i] = quality[i] | BAD_STALE

    cdef void put(self, const int32_t* ids, Py_ssize_t k, const double* value, const uint16_t* quality,
                  const int64_t* source_utc_ns, int64_t received_mono_ns) noexcept nogil:
        """Write k tags. Runs of ids inside one block turn that block's latch once."""
        cdef Py_ssize_t begin = 0, end
        cdef int32_t block_index
        cdef Block* block
        cdef uint64_t sequence
        while begin < k:
            block_index = ids[begin] // BLOCK
            end = begin + 1
            while end < k and ids[end] // BLOCK == block_index:
                end += 1
            block = &self.blocks[block_index]
            sequence = block.sequence
            _fill(&block.copy[(sequence + 1) & 1], ids, begin, end, value, quality, source_utc_ns, received_mono_ns)
            gw_store(&block.sequence, sequence + 1)
            # The turn must be visible before the copy that readers may still be on is touched.
            gw_fence_release()
            _fill(&block.copy[sequence & 1], ids, begin, end, value, quality, source_utc_ns, received_mono_ns)
            begin = end

    def write(self, const int32_t[::1] ids not None,            # IN (k,) ascending, of blocks this writer owns
              const double[::1] values not None,                # IN (k,)
              const uint16_t[::1] quality not None,             # IN (k,)
              const int64_t[::1] source_utc_ns not None,        # IN (k,)
              int64_t received_mono_ns):
        """Write k tags.

        Raises:
            ValueError: lengths differ or an id is outside the store.
        """
        cdef Py_ssize_t k = ids.shape[0], i
        if values.shape[0] != k or quality.shape[0] != k or source_utc_ns.shape[0] != k:
            raise ValueError("columns of different length")
        for i in range(k):
            if ids[i] < 0 or ids[i] >= self.n:
                raise ValueError(f"tag id {ids[i]} is outside the store of {self.n}")
        if k == 0:
            return
        with nogil:
            self.put(&ids[0], k, &values[0], &quality[0], &source_utc_ns[0], received_mono_ns)

    def read(self, const int32_t[::1] ids not None,             # IN  (k,)
             int64_t now_mono_ns,                               # 0: leave quality as written
             double[::1] values not None,                       # OUT (k,)
             uint16_t[::1] quality not None,                    # OUT (k,)
             int64_t[::1] source_utc_ns not None,               # OUT (k,)
             int64_t[::1] received_mono_ns not None):           # OUT (k,)
        """Read k tags; with ``now_mono_ns`` the quality of what is too old becomes BAD|STALE.

        Raises:
            ValueError: lengths differ or an id is outside the store.
        """
        cdef Py_ssize_t k = ids.shape[0], i
        if (values.shape[0] != k or quality.shape[0] != k or source_utc_ns.shape[0] != k
                or received_mono_ns.shape[0] != k):
            raise ValueError("columns of different length")
        for i in range(k):
            if ids[i] < 0 or ids[i] >= self.n:
                raise ValueError(f"tag id {ids[i]} is outside the store of {self.n}")
        if k == 0:
            return
        with nogil:
            self.gather(&ids[0], k, now_mono_ns, &values[0], &quality[0], &source_utc_ns[0], &received_mono_ns[0])

    def snapshot(self, int64_t now_mono_ns,
                 double[::1] values not None,                   # OUT (n,)
                 uint16_t[::1] quality not None,                # OUT (n,)
                 int64_t[::1] source_utc_ns not None,           # OUT (n,)
                 int64_t[::1] received_mono_ns not None):       # OUT (n,)
        """Copy all tags, block by block; each block is consistent in itself.

        Returns:
            How many block copies had to be repeated because the writer turned meanwhile.

        Raises:
            ValueError: lengths differ.
        """
        if (values.shape[0] != self.n or quality.shape[0] != self.n or source_utc_ns.shape[0] != self.n
                or received_mono_ns.shape[0] != self.n):
            raise ValueError(f"columns must hold {self.n} tags")
        cdef Py_ssize_t repeats = 0, index, i
        cdef Block* block
        cdef Columns* side
        cdef uint64_t sequence
        cdef int64_t limit
        with nogil:
            for index in range(self.n_blocks):
                block = &self.blocks[index]
                while True:
                    sequence = gw_load(&block.sequence)
                    side = &block.copy[sequence & 1]
                    memcpy(&values[index * BLOCK], &side.value[0], sizeof(double) * BLOCK)
                    memcpy(&quality[index * BLOCK], &side.quality[0], sizeof(uint16_t) * BLOCK)
                    memcpy(&source_utc_ns[index * BLOCK], &side.source_utc_ns[0], sizeof(int64_t) * BLOCK)
                    memcpy(&received_mono_ns[index * BLOCK], &side.received_mono_ns[0], sizeof(int64_t) * BLOCK)
                    gw_fence()
                    if gw_load(&block.sequence) == sequence:
                        break
                    repeats += 1
            if now_mono_ns > 0:
                for i in range(self.n):
                    limit = self.stale_after_ns[i]
                    if limit > 0 and now_mono_ns - received_mono_ns[i] > limit:
                        quality[i] = quality[i] | BAD_STALE
        return repeats

    def heal(self, Py_ssize_t first_block, Py_ssize_t end_block):
        """Make both copies of blocks equal to the whole one: what a writer does first, after its forerunner was killed.

        Raises:
            ValueError: the range is outside the store.
        """
        if not 0 <= first_block <= end_block <= self.n_blocks:
            raise ValueError(f"blocks {first_block}…{end_block} are outside the store of {self.n_blocks}")
        cdef Py_ssize_t index
        cdef Block* block
        for index in range(first_block, end_block):
            block = &self.blocks[index]
            memcpy(&block.copy[(block.sequence + 1) & 1], &block.copy[block.sequence & 1], sizeof(Columns))

    def sequence(self, Py_ssize_t block):
        """Turns of a block's latch so far: how often it was written."""
        if not 0 <= block < self.n_blocks:
            raise ValueError(f"block {block} is outside the store of {self.n_blocks}")
        return gw_load(&self.blocks[block].sequence)


cdef void _fill(Columns* side, const int32_t* ids, Py_ssize_t begin, Py_ssize_t end, const double* value,
                const uint16_t* quality, const int64_t* source_utc_ns, int64_t received_mono_ns) noexcept nogil:
    cdef Py_ssize_t i, offset
    for i in range(begin, end):
        offset = ids[i] % BLOCK
        side.value[offset] = value[i]
        side.quality[offset] = quality[i]
        side.source_utc_ns[offset] = source_utc_ns[i]
        side.received_mono_ns[offset] = received_mono_ns
