"""Load shedding from a table armed beforehand: what to open when supply falls short, decided within microseconds.

Arming (once a second) sorts the loads by the value of what they are served, the least valuable first, and sums them
up. Deciding (any 10 ms) takes the shortest prefix that is enough, then gives back, from the most valuable one
down, every load that the rest can do without: the last load taken is often so large that earlier ones were in vain.

Source: IEC TS 62898-2 asks for shedding by priority; the greedy cover with one backward pass is the textbook one.
The twin is ``ext/reference/shed.py``. Nothing allocates after the constructor.
"""

from libc.stdint cimport int32_t, uint8_t
from libc.stdlib cimport calloc, free


cdef inline bint _before(const double* value, int32_t a, int32_t b) noexcept nogil:
    return value[a] < value[b] or (value[a] == value[b] and a < b)


cdef void _sort(int32_t* order, int32_t* other, const double* value, Py_ssize_t n) noexcept nogil:
    """Merge sort of indices, from the bottom up; equal values keep the order of their indices."""
    cdef Py_ssize_t width = 1, low, middle, high, i, j, k
    cdef int32_t* source = order
    cdef int32_t* target = other
    cdef int32_t* swap
    while width < n:
        low = 0
        while low < n:
            middle = low + width if low + width < n else n
            high = low + 2 * width if low + 2 * width < n else n
            i, j = low, middle
            for k in range(low, high):
                if i < middle and (j >= high or not _before(value, source[j], source[i])):
                    target[k] = source[i]
                    i += 1
                else:
                    target[k] = source[j]
                    j += 1
            low += 2 * width
        swap = source
        source = target
        target = swap
        width *= 2
    if source != order:
        for k in range(n):
            order[k] = source[k]


cdef class ShedTable:
    """Table over at most ``n`` loads.

    Args:
        n: number of loads, at least 1.

    Raises:
        ValueError: no loads.

    Attributes:
        armed: loads that may be shed.
        total_w: what all of them come to.
    """

    cdef Py_ssize_t n
    cdef int32_t* order
    cdef int32_t* other
    cdef double* value
    cdef double* amount_w
    cdef double* sum_w                     # of the first k + 1 loads in order
    cdef readonly Py_ssize_t armed
    cdef readonly double total_w

    def __cinit__(self, Py_ssize_t n):
        if not 1 <= n < 1 << 30:
            raise ValueError(f"a table over {n} loads")
        self.n = n
        self.order = <int32_t*>calloc(n, sizeof(int32_t))
        self.other = <int32_t*>calloc(n, sizeof(int32_t))
        self.value = <double*>calloc(n, sizeof(double))
        self.amount_w = <double*>calloc(n, sizeof(double))
        self.sum_w = <double*>calloc(n, sizeof(double))
        if (self.order == NULL or self.other == NULL or self.value == NULL or self.amount_w == NULL
                or self.sum_w == NULL):
            raise MemoryError()

    def __dealloc__(self):
        free(self.order)
        free(self.other)
        free(self.value)
        free(self.amount_w)
        free(self.sum_w)

    cpdef Py_ssize_t arm(self, const double[::1] value, const double[::1] amount_w, const uint8_t[::1] sheddable):
        """Sort and sum up; returns how many loads may be shed.

        Args:
            value: (n,) what serving each is worth, per kWh.
            amount_w: (n,) what shedding each gives; not positive or no number: it gives nothing and is left alone.
            sheddable: (n,) 0 keeps a load.

        Raises:
            ValueError: lengths differ.
        """
        cdef Py_ssize_t i
        cdef double sum_w = 0.0
        if not (value.shape[0] == amount_w.shape[0] == sheddable.shape[0] == self.n):
            raise ValueError(f"a table over {self.n} loads was given other lengths")
        with nogil:
            self.armed = 0
            for i in range(self.n):
                self.value[i] = value[i]
                self.amount_w[i] = amount_w[i]
                if sheddable[i] and amount_w[i] > 0.0 and value[i] == value[i]:
                    self.order[self.armed] = <int32_t>i
                    self.armed += 1
            _sort(self.order, self.other, self.value, self.armed)
            for i in range(self.armed):
                sum_w += self.amount_w[self.order[i]]
                self.sum_w[i] = sum_w
            self.total_w = sum_w
        return self.armed

    cpdef double decide(self, double shed_w, uint8_t[::1] chosen):
        """Choose the loads; returns what they come to, less than asked only when the table has no more.

        Args:
            shed_w: what is asked; nothing is chosen when it is not positive.
            chosen: (n,) OUT, 1 where a load is shed.

        Raises:
            ValueError: the length differs.
        """
        cdef Py_ssize_t low = 0, high = self.armed - 1, middle, k
        cdef double sum_w, without_w
        cdef int32_t one
        if chosen.shape[0] != self.n:
            raise ValueError(f"a table over {self.n} loads was given another length")
        with nogil:
            for k in range(self.n):
                chosen[k] = 0
            if not shed_w > 0.0 or self.armed == 0:
                return 0.0
            while low < high:                              # the first prefix that is enough
                middle = (low + high) // 2
                if self.sum_w[middle] >= shed_w:
                    high = middle
                else:
                    low = middle + 1
            sum_w = self.sum_w[low]
            for k in range(low + 1):
                chosen[self.order[k]] = 1
            for k in range(low, -1, -1):
                one = self.order[k]
                without_w = sum_w - self.amount_w[one]
                if without_w >= shed_w:
                    chosen[one] = 0
                    sum_w = without_w
        return sum_w
