"""Tag store: columns in shared memory, one writer per block, readers that never wait.

Each block of 1024 tags holds two copies of its columns and a sequence number. The writer fills the copy that readers
do not look at, then turns the sequence (release); it brings the other copy up to date right after, before the next
write. A reader copies from the stable side and looks at the sequence again: it repeats only when the writer turned
twice meanwhile. This is the latch of Linux's ``raw_write_seqcount_latch``: a reader that meets a preempted or killed
writer finds a whole copy all the same, which a plain sequence lock cannot promise.

A writer may be killed between two stores. The sequence then still names the copy that was whole; :meth:`StoreView.heal`
copies it over the other one before a new writer starts.

Beside the blocks lies a common region that only the core writes: the *overrides* (substituted and blocked values, at most
512, in two copies behind a latch of the same kind) and the quality flags that every writer adds. A read that is given
the time puts the overrides over what the owners wrote; each carries the monotonic time at which it ends, so that a core
that died cannot prolong one. Without any, a read costs two loads more.

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

cdef extern from "tagstore_sweep.h":
    int gw_copy_aged(int64_t* received, uint16_t* quality, const int64_t* from_received, const uint16_t* from_quality,
                      const int64_t* limit, int64_t now, long n) noexcept nogil
    int64_t gw_mark_aged(uint16_t* quality, const int64_t* received, const int64_t* limit, int64_t now,
                         long n) noexcept nogil
    long gw_changes(double* last_value, uint16_t* last_quality, const double* value, const uint16_t* quality,
                    const double* deadband, int32_t* out, long n) noexcept nogil

cdef uint16_t BAD_STALE = 0x8001
cdef int64_t AHEAD_NS = 1_000_000_000                       # GW_AHEAD of tagstore_sweep.h
cdef uint16_t UNCERTAIN = 0x4000
cdef uint16_t SIMULATED = 0x0800
cdef enum:
    NO_TURN = -1

NOT_SEEN = 2**64 - 1
"""No turn of a block: a store would have to be written every nanosecond for five hundred years."""

BLOCK_BYTES = sizeof(Block)
COMMON_BYTES = sizeof(Common)
OVERRIDES_MAX = OVERRIDES


cdef class StoreView:
    """Blocks of a mapped buffer.

    Args:
        buffer: writable buffer of ``n_blocks * BLOCK_BYTES`` bytes, 64-byte aligned.
        stale_after_ns: (n,) age at which each tag is stale, 0 for never; n = 1024 * n_blocks.
        common: writable buffer of ``COMMON_BYTES``, 8-byte aligned, zeros at first; without it, one of its own.

    Raises:
        ValueError: sizes do not fit.
    """

    def __init__(self, uint8_t[::1] buffer not None, const int64_t[::1] stale_after_ns not None,
                 uint8_t[::1] common=None):
        if buffer.shape[0] % sizeof(Block) != 0 or buffer.shape[0] == 0:
            raise ValueError(f"buffer of {buffer.shape[0]} bytes is not a whole number of blocks")
        self.n_blocks = buffer.shape[0] // sizeof(Block)
        self.n = self.n_blocks * BLOCK
        if stale_after_ns.shape[0] != self.n:
            raise ValueError(f"{stale_after_ns.shape[0]} stale periods for {self.n} tags")
        if common is None:
            common = bytearray(sizeof(Common))
        if common.shape[0] != sizeof(Common):
            raise ValueError(f"common region of {common.shape[0]} bytes, it has {sizeof(Common)}")
        if (<uintptr_t>&buffer[0]) % 8 != 0 or (<uintptr_t>&common[0]) % 8 != 0:
            raise ValueError("buffer is not aligned")
        self._buffer = buffer
        self._bytes = buffer
        self._common = common
        self._common_bytes = common
        self.common = <Common*>&common[0]
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
                if limit > 0 and (now_mono_ns - received_mono_ns[i] > limit
                                  or received_mono_ns[i] > now_mono_ns + AHEAD_NS):
                    quality[i] = (quality[i] & ~UNCERTAIN) | BAD_STALE
            self._override_many(ids, k, now_mono_ns, value, quality, source_utc_ns, received_mono_ns)

    cdef void _override_many(self, const int32_t* ids, Py_ssize_t k, int64_t now_mono_ns, double* value,
                             uint16_t* quality, int64_t* source_utc_ns, int64_t* received_mono_ns) noexcept nogil:
        """Put what is in force over k samples."""
        cdef uint64_t sequence
        cdef OverrideSet* stable
        cdef Override one
        cdef Py_ssize_t i = 0, n
        cdef bint found
        while True:
            sequence = gw_load(&self.common.sequence)
            stable = &self.common.copy[sequence & 1]
            n = _count(stable)
            gw_fence()
            if gw_load(&self.common.sequence) == sequence:
                break
        if n == 0:
            return
        while i < k:
            found = _find(stable, ids[i], &one)
            gw_fence()
            if gw_load(&self.common.sequence) != sequence:
                sequence = gw_load(&self.common.sequence)
                stable = &self.common.copy[sequence & 1]
                continue
            if found and now_mono_ns < one.until_mono_ns:
                _lay_over(&one, now_mono_ns, &value[i], &quality[i], &source_utc_ns[i], &received_mono_ns[i])
            i += 1

    cdef void _override_all(self, int64_t now_mono_ns, double* value, uint16_t* quality, int64_t* source_utc_ns,
                            int64_t* received_mono_ns, uint64_t* seen) noexcept nogil:
        """Put what is in force over the columns of all tags; a block that was touched is no longer as its owner wrote it."""
        cdef uint64_t sequence
        cdef OverrideSet* stable
        cdef OverrideSet known                              # copied whole and looked at once: 20 kB when it is full
        cdef Py_ssize_t j, i, n
        while True:
            sequence = gw_load(&self.common.sequence)
            stable = &self.common.copy[sequence & 1]
            n = _count(stable)
            memcpy(&known.entry[0], &stable.entry[0], n * sizeof(Override))
            gw_fence()
            if gw_load(&self.common.sequence) == sequence:
                break
        for j in range(n):
            i = known.entry[j].tag_id
            if 0 <= i < self.n and now_mono_ns < known.entry[j].until_mono_ns:
                _lay_over(&known.entry[j], now_mono_ns, &value[i], &quality[i], &source_utc_ns[i],
                          &received_mono_ns[i])
                if seen != NULL:
                    seen[i // BLOCK] = <uint64_t>NO_TURN

    cdef void put(self, const int32_t* ids, Py_ssize_t k, const double* value, const uint16_t* quality,
                  const int64_t* source_utc_ns, int64_t received_mono_ns) noexcept nogil:
        """Write k tags. Runs of ids inside one block turn that block's latch once."""
        cdef Py_ssize_t begin = 0, end
        cdef bint neighbours
        cdef uint16_t flags = <uint16_t>gw_load(&self.common.quality_flags)
        cdef int32_t block_index
        cdef Block* block
        cdef uint64_t sequence
        while begin < k:
            block_index = ids[begin] // BLOCK
            end = min(k, begin + BLOCK - ids[begin] % BLOCK)
            neighbours = _neighbours(ids + begin, end - begin)
            if not neighbours:
                end = begin + 1
                while end < k and ids[end] // BLOCK == block_index:
                    end += 1
            block = &self.blocks[block_index]
            sequence = block.sequence
            _fill(&block.copy[(sequence + 1) & 1], ids, begin, end, value, quality, source_utc_ns, received_mono_ns,
                  flags, neighbours)
            gw_store(&block.sequence, sequence + 1)
            # The turn must be visible before the copy that readers may still be on is touched.
            gw_fence_release()
            _fill(&block.copy[sequence & 1], ids, begin, end, value, quality, source_utc_ns, received_mono_ns,
                  flags, neighbours)
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
        cdef int32_t all_bits = 0, highest = -1
        if values.shape[0] != k or quality.shape[0] != k or source_utc_ns.shape[0] != k:
            raise ValueError("columns of different length")
        for i in range(k):                                  # without an end in between, so that it goes by vectors
            all_bits |= ids[i]
            highest = max(highest, ids[i])
        if all_bits < 0 or highest >= self.n:
            raise ValueError(f"tag ids {min(ids)}…{max(ids)} reach outside the store of {self.n}")
        if k == 0:
            return
        with nogil:
            self.put(&ids[0], k, &values[0], &quality[0], &source_utc_ns[0], received_mono_ns)

    def read(self, const int32_t[::1] ids not None,             # IN  (k,)
             int64_t now_mono_ns,                               # 0: as the owners wrote it
             double[::1] values not None,                       # OUT (k,)
             uint16_t[::1] quality not None,                    # OUT (k,)
             int64_t[::1] source_utc_ns not None,               # OUT (k,)
             int64_t[::1] received_mono_ns not None):           # OUT (k,)
        """Read k tags; with ``now_mono_ns`` what is too old becomes BAD|STALE, and overrides lie over the rest.

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
                 int64_t[::1] received_mono_ns not None,        # OUT (n,)
                 uint64_t[::1] seen=None,                       # INOUT (n_blocks,)
                 int64_t[::1] fresh_until=None):                # INOUT (n_blocks,), with seen
        """Copy all tags, block by block; each block is consistent in itself.

        Args:
            now_mono_ns: time of the reader, to mark what is too old and to lay overrides over; 0 for neither.
            seen: which turn of each block the columns hold already, from the call before with the same columns and an
                earlier time; ``NOT_SEEN`` for none. Blocks that nobody wrote since are not copied again.
            fresh_until: until when nothing more of a block grows too old; before that it is not even looked at.

        Returns:
            How many block copies had to be repeated because the writer turned meanwhile.

        Raises:
            ValueError: lengths differ.
        """
        if (values.shape[0] != self.n or quality.shape[0] != self.n or source_utc_ns.shape[0] != self.n
                or received_mono_ns.shape[0] != self.n):
            raise ValueError(f"columns must hold {self.n} tags")
        if (seen is None) != (fresh_until is None) or seen is not None and (
                seen.shape[0] != self.n_blocks or fresh_until.shape[0] != self.n_blocks or now_mono_ns <= 0):
            raise ValueError("turns seen and times must be one per block, and go with the reader's time")
        cdef uint64_t* known = &seen[0] if seen is not None else NULL
        cdef int64_t* fresh = &fresh_until[0] if seen is not None else NULL
        cdef Py_ssize_t repeats = 0, index, first
        cdef Block* block
        cdef Columns* side
        cdef uint64_t sequence
        cdef bint ahead = False
        with nogil:
            for index in range(self.n_blocks):
                block = &self.blocks[index]
                first = index * BLOCK
                if known != NULL and gw_load(&block.sequence) == known[index]:
                    if now_mono_ns > fresh[index]:
                        fresh[index] = gw_mark_aged(&quality[first], &received_mono_ns[first],
                                                    &self.stale_after_ns[first], now_mono_ns, BLOCK)
                    continue
                while True:
                    sequence = gw_load(&block.sequence)
                    side = &block.copy[sequence & 1]
                    memcpy(&values[first], &side.value[0], sizeof(double) * BLOCK)
                    memcpy(&source_utc_ns[first], &side.source_utc_ns[0], sizeof(int64_t) * BLOCK)
                    if now_mono_ns > 0:
                        ahead = gw_copy_aged(&received_mono_ns[first], &quality[first], &side.received_mono_ns[0],
                                             &side.quality[0], &self.stale_after_ns[first], now_mono_ns, BLOCK)
                    else:
                        memcpy(&quality[first], &side.quality[0], sizeof(uint16_t) * BLOCK)
                        memcpy(&received_mono_ns[first], &side.received_mono_ns[0], sizeof(int64_t) * BLOCK)
                    gw_fence()
                    if gw_load(&block.sequence) == sequence:
                        break
                    repeats += 1
                if known != NULL:
                    known[index] = <uint64_t>NO_TURN if ahead else sequence
                    fresh[index] = 0                        # known when it is looked at again
            if now_mono_ns > 0:
                self._override_all(now_mono_ns, &values[0], &quality[0], &source_utc_ns[0], &received_mono_ns[0],
                                   known)
        return repeats

    def override(self, const int32_t[::1] ids not None,         # IN (m,) ascending
                 const double[::1] values not None,             # IN (m,)
                 const uint16_t[::1] quality not None,          # IN (m,)
                 const int64_t[::1] source_utc_ns not None,     # IN (m,)
                 const int64_t[::1] received_mono_ns not None,  # IN (m,) 0: as fresh as its reader
                 const int64_t[::1] until_mono_ns not None):    # IN (m,) end of each
        """Replace all overrides in one turn; one process at a time may do so.

        Raises:
            ValueError: lengths differ, more than ``OVERRIDES_MAX``, or ids not ascending inside the store.
        """
        cdef Py_ssize_t m = ids.shape[0], j
        if (values.shape[0] != m or quality.shape[0] != m or source_utc_ns.shape[0] != m
                or received_mono_ns.shape[0] != m or until_mono_ns.shape[0] != m):
            raise ValueError("columns of different length")
        if m > OVERRIDES:
            raise ValueError(f"{m} overrides, at most {OVERRIDES}")
        for j in range(m):
            if ids[j] < 0 or ids[j] >= self.n or (j > 0 and ids[j] <= ids[j - 1]):
                raise ValueError("ids of overrides are not ascending inside the store")
        cdef uint64_t sequence = self.common.sequence
        cdef OverrideSet* fresh = &self.common.copy[(sequence + 1) & 1]
        gw_fence_release()
        fresh.n = m
        for j in range(m):
            fresh.entry[j] = Override(ids[j], quality[j], 0, values[j], source_utc_ns[j], received_mono_ns[j],
                                      until_mono_ns[j])
        gw_store(&self.common.sequence, sequence + 1)

    def overridden(self, int64_t now_mono_ns, int32_t[::1] out not None):  # OUT (OVERRIDES_MAX,) ids, ascending
        """Ids of the tags with an override in force at a time.

        Returns:
            How many; the rest of ``out`` is untouched.

        Raises:
            ValueError: ``out`` is too short.
        """
        if out.shape[0] < OVERRIDES:
            raise ValueError(f"room for {out.shape[0]} ids, needs {OVERRIDES}")
        cdef uint64_t sequence
        cdef OverrideSet* stable
        cdef Py_ssize_t j, found
        while True:
            sequence = gw_load(&self.common.sequence)
            stable = &self.common.copy[sequence & 1]
            found = 0
            for j in range(_count(stable)):
                if now_mono_ns < stable.entry[j].until_mono_ns:
                    out[found] = stable.entry[j].tag_id
                    found += 1
            gw_fence()
            if gw_load(&self.common.sequence) == sequence:
                return found

    @property
    def override_turns(self):
        """How often the overrides were replaced: who keeps a copy asks this first."""
        return gw_load(&self.common.sequence)

    @property
    def quality_flags(self):
        """Bits that every write adds to the quality."""
        return <uint16_t>gw_load(&self.common.quality_flags)

    @quality_flags.setter
    def quality_flags(self, uint16_t bits):
        gw_store(&self.common.quality_flags, bits)

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


def changes(double[::1] last_values not None,           # INOUT (n,) what was last told
            uint16_t[::1] last_quality not None,        # INOUT (n,)
            const double[::1] values not None,          # IN (n,) now
            const uint16_t[::1] quality not None,       # IN (n,)
            const double[::1] deadband not None,        # IN (n,) in the tag's unit, 0: any change
            int32_t[::1] out not None):                 # OUT (>= n,) ids of what changed, ascending
    """Report by exception: which values moved by more than their deadband since they were last told.

    A change of quality is a change; two NaN are alike. What changed becomes the new reference, all else stays, so that a
    slow drift is told once it has left the deadband.

    Returns:
        How many ids are in ``out``.

    Raises:
        ValueError: lengths differ.
    """
    cdef Py_ssize_t n = values.shape[0]
    cdef long found
    if (last_values.shape[0] != n or last_quality.shape[0] != n or quality.shape[0] != n or deadband.shape[0] != n
            or out.shape[0] < n):
        raise ValueError("columns of different length")
    if n == 0:
        return 0
    with nogil:
        found = gw_changes(&last_values[0], &last_quality[0], &values[0], &quality[0], &deadband[0], &out[0], n)
    return found


cdef inline Py_ssize_t _count(const OverrideSet* stable) noexcept nogil:
    """Entries of a set, within bounds even when it is being rewritten."""
    cdef int64_t n = stable.n
    return 0 if n < 0 else OVERRIDES if n > OVERRIDES else n


cdef bint _find(const OverrideSet* stable, int32_t tag_id, Override* one) noexcept nogil:
    """Copy a tag's entry; what it says counts only when the latch has not turned."""
    cdef Py_ssize_t low = 0, high = _count(stable), middle
    while low < high:
        middle = (low + high) // 2
        if stable.entry[middle].tag_id < tag_id:
            low = middle + 1
        else:
            high = middle
    if low >= OVERRIDES or stable.entry[low].tag_id != tag_id or low >= _count(stable):
        return False
    memcpy(one, &stable.entry[low], sizeof(Override))
    return True


cdef inline void _lay_over(const Override* one, int64_t now_mono_ns, double* value, uint16_t* quality,
                           int64_t* source_utc_ns, int64_t* received_mono_ns) noexcept nogil:
    value[0] = one.value
    quality[0] = one.quality | (quality[0] & SIMULATED)
    source_utc_ns[0] = one.source_utc_ns
    received_mono_ns[0] = one.received_mono_ns if one.received_mono_ns > 0 else now_mono_ns


cdef bint _neighbours(const int32_t* ids, Py_ssize_t n) noexcept nogil:
    """Whether n ids follow each other without a hole, as they do in the scan of a whole device or part."""
    cdef int32_t differs = 0, first = ids[0]
    cdef Py_ssize_t j
    if n > 1 and ids[1] != first + 1:
        return False
    for j in range(n):
        differs |= ids[j] ^ (first + <int32_t>j)
    return differs == 0


cdef void _fill(Columns* side, const int32_t* ids, Py_ssize_t begin, Py_ssize_t end, const double* value,
                const uint16_t* quality, const int64_t* source_utc_ns, int64_t received_mono_ns,
                uint16_t flags, bint neighbours) noexcept nogil:
    cdef Py_ssize_t i, offset, n
    if neighbours:
        offset, n = ids[begin] % BLOCK, end - begin
        memcpy(&side.value[offset], value + begin, n * sizeof(double))
        memcpy(&side.source_utc_ns[offset], source_utc_ns + begin, n * sizeof(int64_t))
        for i in range(n):
            side.quality[offset + i] = quality[begin + i] | flags
        for i in range(n):
            side.received_mono_ns[offset + i] = received_mono_ns
        return
    for i in range(begin, end):
        offset = ids[i] % BLOCK
        side.value[offset] = value[i]
        side.quality[offset] = quality[i] | flags
        side.source_utc_ns[offset] = source_utc_ns[i]
        side.received_mono_ns[offset] = received_mono_ns
