"""Many Modbus connections polled by one thread without the GIL: epoll in, one matrix of registers out.

The thread keeps N connections of M read blocks each on an earliest-deadline schedule, one request outstanding on each
connection, and writes every valid answer into its block's row of one ``(blocks, 125)`` matrix. Requests of its callers
(reads, and writes with their read-back) go before polls. It takes no lock but its own short one, allocates nothing and
never meets Python: a busy interpreter does not make it late.

An answer is taken only when every byte of its frame is what the request asked for: transaction, protocol, unit,
function, byte count, length (Modbus TCP), or unit, function, byte count and CRC (RTU over TCP). Late answers are
discarded by their transaction; a stream that cannot be trusted any more (half a frame at a time-out) is closed. RTU has no transactions: there a
time-out or a surplus byte closes the connection, because the late answer could pass for the next one.

A write that has expired, or any write when the poller was made read only, never reaches the socket: both are looked at
in the function that sends. An overrun skips and counts, it never queues. New connections are limited per second, so
that a fleet that comes back at once is not asked at once.

Times are CLOCK_MONOTONIC in nanoseconds. Sources: Modbus Application Protocol v1.1b3, Modbus Messaging on TCP/IP v1.0b,
Modbus over Serial Line v1.02 (CRC). The twin of the frame checks is ``reference/modbus_poller.py``.
"""

import numpy as np

from libc.errno cimport EAGAIN, EINPROGRESS, EINTR, errno
from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy, memmove, memset

cdef extern from *:
    """
    #ifndef _GNU_SOURCE
    #define _GNU_SOURCE
    #endif
    #include <arpa/inet.h>
    #include <errno.h>
    #include <netinet/in.h>
    #include <netinet/tcp.h>
    #include <pthread.h>
    #include <sched.h>
    #include <stdint.h>
    #include <string.h>
    #include <sys/epoll.h>
    #include <sys/eventfd.h>
    #include <sys/prctl.h>
    #include <sys/socket.h>
    #include <sys/syscall.h>
    #include <time.h>
    #include <unistd.h>

    typedef struct sockaddr_storage gwp_address;
    typedef struct epoll_event gwp_event;

    static inline int64_t gwp_mono(void) {
        struct timespec t;
        clock_gettime(CLOCK_MONOTONIC, &t);
        return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
    }
    static inline int64_t gwp_thread_cpu(pthread_t thread) {
        struct timespec t; clockid_t which;
        if (pthread_getcpuclockid(thread, &which) || clock_gettime(which, &t)) return 0;
        return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
    }
    /* 0 when text is no numeric address. */
    static int gwp_parse(gwp_address* to, const char* text, int port) {
        memset(to, 0, sizeof *to);
        struct sockaddr_in* four = (struct sockaddr_in*)to;
        struct sockaddr_in6* six = (struct sockaddr_in6*)to;
        if (inet_pton(AF_INET, text, &four->sin_addr) == 1) {
            four->sin_family = AF_INET; four->sin_port = htons((uint16_t)port); return sizeof *four;
        }
        if (inet_pton(AF_INET6, text, &six->sin6_addr) == 1) {
            six->sin6_family = AF_INET6; six->sin6_port = htons((uint16_t)port); return sizeof *six;
        }
        return 0;
    }
    static int gwp_socket(const gwp_address* to) {
        int one = 1, fd = socket(to->ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, IPPROTO_TCP);
        if (fd >= 0) setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        return fd;
    }
    static inline int gwp_connect(int fd, const gwp_address* to, int size) {
        return connect(fd, (const struct sockaddr*)to, (socklen_t)size);
    }
    static inline int gwp_error_of(int fd) {
        int error = 0; socklen_t size = sizeof error;
        return getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size) ? errno : error;
    }
    static inline int gwp_watch(int ep, int how, int fd, uint32_t events, uint64_t data) {
        struct epoll_event e; memset(&e, 0, sizeof e);
        e.events = events; e.data.u64 = data;
        return epoll_ctl(ep, how, fd, &e);
    }
    static inline uint64_t gwp_data(const gwp_event* e) { return e->data.u64; }
    static inline uint32_t gwp_events(const gwp_event* e) { return e->events; }
    /* Wait with the clock's grain where the kernel can (5.11), else rounded up to milliseconds. */
    static int gwp_wait(int ep, gwp_event* events, int n, int64_t wait_ns) {
        if (wait_ns < 0) wait_ns = 0;
    #ifdef SYS_epoll_pwait2
        struct timespec t = { wait_ns / 1000000000, wait_ns % 1000000000 };
        int found = (int)syscall(SYS_epoll_pwait2, ep, events, n, &t, NULL, 0);
        if (found >= 0 || errno != ENOSYS) return found;
    #endif
        return epoll_wait(ep, events, n, (int)((wait_ns + 999999) / 1000000));
    }
    static inline long gwp_send(int fd, const uint8_t* from, int n) {
        return send(fd, from, (size_t)n, MSG_NOSIGNAL | MSG_DONTWAIT);
    }
    static inline long gwp_receive(int fd, uint8_t* to, int n) { return recv(fd, to, (size_t)n, MSG_DONTWAIT); }
    static inline void gwp_signal(int fd) { uint64_t one = 1; if (write(fd, &one, sizeof one) < 0) { /* set already */ } }
    static inline void gwp_quiet(int fd) { uint64_t n; if (read(fd, &n, sizeof n) < 0) { /* was not set */ } }
    static uint16_t gwp_crc(const uint8_t* p, int n) {
        uint16_t crc = 0xFFFF;
        for (int i = 0; i < n; i++) {
            crc ^= p[i];
            for (int k = 0; k < 8; k++) crc = (crc & 1) ? (uint16_t)(crc >> 1 ^ 0xA001) : (uint16_t)(crc >> 1);
        }
        return crc;
    }
    static inline void gwp_words(uint16_t* to, const uint8_t* from, int n) {
        for (int i = 0; i < n; i++) to[i] = (uint16_t)(from[2 * i] << 8 | from[2 * i + 1]);
    }
    /* 16 buckets per doubling of microseconds, as in control_loop.pyx. */
    static inline int gwp_bucket(int64_t ns) {
        uint64_t us = ns > 0 ? (uint64_t)ns / 1000 : 0;
        if (us < 16) return (int)us;
        int e = 63 - __builtin_clzll(us);
        if (e > 30) return 447;
        return (e - 3) * 16 + (int)((us >> (e - 4)) & 15);
    }
    static inline double gwp_bucket_end_us(int i) {
        if (i < 16) return i + 1;
        return (double)((uint64_t)(16 + i % 16 + 1) << (i / 16 - 1));
    }
    static int gwp_fifo(int priority) {
        struct sched_param p; memset(&p, 0, sizeof p);
        p.sched_priority = priority;
        return pthread_setschedparam(pthread_self(), SCHED_FIFO, &p);
    }
    static void gwp_name(void) {
        pthread_setname_np(pthread_self(), "gwanje-modbus");
        prctl(PR_SET_TIMERSLACK, 1, 0, 0, 0);
    }
    /* Whoever holds the lock while the thread waits for it runs as urgently as the thread. */
    static int gwp_lock_init(pthread_mutex_t* lock) {
        pthread_mutexattr_t how;
        pthread_mutexattr_init(&how);
        pthread_mutexattr_setprotocol(&how, PTHREAD_PRIO_INHERIT);
        int error = pthread_mutex_init(lock, &how);
        pthread_mutexattr_destroy(&how);
        return error;
    }
    static int gwp_start(pthread_t* thread, void* (*run)(void*), void* argument) {
        return pthread_create(thread, NULL, run, argument);
    }
    """
    ctypedef struct gwp_address:
        pass
    ctypedef struct gwp_event:
        pass
    ctypedef struct pthread_t:
        pass
    ctypedef struct pthread_mutex_t:
        pass
    int EPOLLIN, EPOLLOUT, EPOLLERR, EPOLLHUP, EPOLL_CTL_ADD, EPOLL_CTL_MOD, EPOLL_CLOEXEC, EFD_NONBLOCK, EFD_CLOEXEC
    int64_t gwp_mono() noexcept nogil
    int64_t gwp_thread_cpu(pthread_t thread) noexcept nogil
    int gwp_parse(gwp_address* to, const char* text, int port) noexcept nogil
    int gwp_socket(const gwp_address* to) noexcept nogil
    int gwp_connect(int fd, const gwp_address* to, int size) noexcept nogil
    int gwp_error_of(int fd) noexcept nogil
    int gwp_watch(int ep, int how, int fd, uint32_t events, uint64_t data) noexcept nogil
    uint64_t gwp_data(const gwp_event* e) noexcept nogil
    uint32_t gwp_events(const gwp_event* e) noexcept nogil
    int gwp_wait(int ep, gwp_event* events, int n, int64_t wait_ns) noexcept nogil
    long gwp_send(int fd, const uint8_t* from_, int n) noexcept nogil
    long gwp_receive(int fd, uint8_t* to, int n) noexcept nogil
    void gwp_signal(int fd) noexcept nogil
    void gwp_quiet(int fd) noexcept nogil
    uint16_t gwp_crc(const uint8_t* p, int n) noexcept nogil
    void gwp_words(uint16_t* to, const uint8_t* from_, int n) noexcept nogil
    int gwp_bucket(int64_t ns) noexcept nogil
    double gwp_bucket_end_us(int i) noexcept nogil
    int gwp_fifo(int priority) noexcept nogil
    void gwp_name() noexcept nogil
    int gwp_start(pthread_t* thread, void* (*run)(void*) noexcept nogil, void* argument) noexcept nogil
    int pthread_join(pthread_t thread, void** result) noexcept nogil
    int gwp_lock_init(pthread_mutex_t* lock) noexcept nogil
    int pthread_mutex_lock(pthread_mutex_t* lock) noexcept nogil
    int pthread_mutex_unlock(pthread_mutex_t* lock) noexcept nogil
    int pthread_mutex_destroy(pthread_mutex_t* lock) noexcept nogil
    int epoll_create1(int flags) noexcept nogil
    int eventfd(unsigned int start, int flags) noexcept nogil
    int gwp_close "close"(int fd) noexcept nogil

cdef enum:
    REGISTERS = 125            # most registers of a read
    WRITE_REGISTERS = 123      # and of a write
    RX_BYTES = 1024            # what is left over after parsing is shorter than a frame of 260
    TX_BYTES = 272
    EVENTS = 64                # events looked at between two looks at the clock …
    SENDS = 32                 # … and requests sent: together well below a millisecond
    BUCKETS = 448
    UNSOLICITED_MAX = 64       # frames nobody waits for, in a row; a device that talks by itself is no server
    # connection
    CLOSED = 0
    WAITING = 1                # for its turn to connect
    CONNECTING = 2
    OPEN = 3
    # what is outstanding
    NOTHING = 0
    POLL = 1
    SHOT = 2
    ORPHAN = 3                 # whoever asked is gone; the answer is awaited all the same, one at a time
    READ = 3
    READ_INPUT = 4
    WRITE = 16

cdef int64_t NEVER = <int64_t>0x7FFFFFFFFFFFFFFF
cdef int64_t BATCH_NS = 1_000_000
cdef int64_t FAST_NS = 100_000_000
cdef int64_t ALIKE_NS = 5_000_000
cdef int64_t NS_PER_S = 1_000_000_000
cdef uint64_t WAKE = <uint64_t>-1

TCP, RTU = 0, 1
"""Framings."""

OK, NO_ANSWER, EXCEPTION, INVALID, LOST, NO_CONNECTION, EXPIRED, FORBIDDEN = range(8)
"""How a request ended. The code beside it is the device's exception, a reason of ``REASONS``, or an errno."""

REASONS = (
    "", "no Modbus header", "another unit answers", "another function answers", "the byte count is not what was asked",
    "the echo of a write differs", "an exception of the wrong size", "the checksum is wrong", "bytes nobody asked for",
)
"""Why an answer is invalid, by code."""

cdef enum:
    S_OK = 0
    S_NO_ANSWER = 1
    S_EXCEPTION = 2
    S_INVALID = 3
    S_LOST = 4
    S_NO_CONNECTION = 5
    S_EXPIRED = 6
    S_FORBIDDEN = 7
    S_MORE = -1                # the frame is not complete
    S_OTHER = -2               # a whole frame of another transaction
    R_HEADER = 1
    R_UNIT = 2
    R_FUNCTION = 3
    R_COUNT = 4
    R_ECHO = 5
    R_EXCEPTION = 6
    R_CRC = 7
    R_SURPLUS = 8

cdef struct Want:
    uint16_t transaction
    uint8_t unit
    uint8_t function
    int address
    int count

cdef struct Found:
    int status
    int code
    int used                   # bytes of the buffer that are done with
    int at                     # where the registers begin

cdef struct Conn:
    int used
    int fd
    int state
    int framing
    int shared
    int resume                 # a connection given up by us is made anew without telling
    int watched                # events asked for
    uint32_t generation
    gwp_address address
    int address_size
    int64_t timeout_ns
    int64_t gap_ns
    int64_t free_ns
    int64_t deadline_ns
    int64_t sent_ns
    int kind
    int index
    Want want
    uint16_t transaction
    int skip                   # the frame half received when the request left answers something older
    int unsolicited
    int rx_n
    int tx_n
    int tx_at
    int first_block
    int shot_head
    int shot_tail
    int told                   # a change waits for its taker
    int told_status
    int told_code
    int64_t answered
    int64_t timeouts
    int64_t invalid
    int64_t exceptions
    int64_t late
    int64_t opened
    uint8_t rx[1024]
    uint8_t tx[272]

cdef struct Block:
    int used
    int conn
    int next
    uint8_t unit
    uint8_t function
    int address
    int count
    int64_t period_ns
    int64_t due_ns
    int64_t late_ns            # of the read under way
    int pending                # a result waits for its taker
    int status
    int code
    int64_t arrival_ns
    int64_t took_ns
    int64_t was_late_ns
    int64_t reads
    int64_t skipped

cdef struct Shot:
    int used
    int conn
    int next
    uint8_t unit
    uint8_t function
    int address
    int count
    int back_address
    int back_count
    int64_t expires_ns
    int done
    int gone
    int status
    int code
    int64_t done_ns
    int64_t took_ns
    int64_t begun_ns
    uint16_t words[125]

cdef struct Lane:
    pthread_mutex_t lock
    int ep
    int wake_fd
    int done_fd
    int stop
    int running
    int read_only
    int fifo
    int fifo_errno
    int n_conns
    int n_blocks
    int n_shots
    int in_flight
    int signalled
    int64_t first_done_ns      # of results nobody was told of, 0 without any
    int64_t connect_ns         # when the next connection may be tried
    int64_t connect_every_ns
    int64_t reads
    int64_t writes
    int64_t exceptions[12]
    Conn* conns
    Block* blocks
    Shot* shots
    int64_t* wake_ns
    int64_t* key_ns
    int* ready
    int* done_blocks
    int n_done_blocks
    int* done_shots
    int n_done_shots
    int* done_conns
    int n_done_conns
    uint16_t* matrix
    uint64_t late[2][448]
    uint64_t n_late[2]


# ---- frames

cdef Found _tcp(const uint8_t* rx, int n, const Want* want, int waiting) noexcept nogil:
    """The first frame of a Modbus TCP stream, judged."""
    cdef Found found
    cdef int length, body
    found.status, found.code, found.used, found.at = S_MORE, 0, 0, 0
    if n < 7:
        return found
    length = rx[4] << 8 | rx[5]
    if rx[2] != 0 or rx[3] != 0 or length < 3 or length > 254:
        found.status, found.code = S_INVALID, R_HEADER
        return found
    if n < 6 + length:
        return found
    found.used = 6 + length
    if not waiting or (rx[0] << 8 | rx[1]) != want.transaction:
        found.status = S_OTHER
        return found
    if rx[6] != want.unit:
        found.status, found.code = S_INVALID, R_UNIT
        return found
    body = length - 2                                      # behind unit and function
    if rx[7] == want.function | 0x80:
        if body != 1 or rx[8] == 0:
            found.status, found.code = S_INVALID, R_EXCEPTION
        else:
            found.status, found.code = S_EXCEPTION, rx[8]
        return found
    if rx[7] != want.function:
        found.status, found.code = S_INVALID, R_FUNCTION
    elif want.function == WRITE:
        if body != 4 or (rx[8] << 8 | rx[9]) != want.address or (rx[10] << 8 | rx[11]) != want.count:
            found.status, found.code = S_INVALID, R_ECHO
        else:
            found.status = S_OK
    elif rx[8] != 2 * want.count or body != 1 + 2 * want.count:
        found.status, found.code = S_INVALID, R_COUNT
    else:
        found.status, found.at = S_OK, 9
    return found


cdef Found _rtu(const uint8_t* rx, int n, const Want* want, int waiting) noexcept nogil:
    """What stands in an RTU stream since the request left: its answer, alone, or nothing to be trusted."""
    cdef Found found
    cdef int size
    found.status, found.code, found.used, found.at = S_MORE, 0, 0, 0
    if n == 0:
        return found
    if not waiting:
        found.status, found.code = S_INVALID, R_SURPLUS
        return found
    if rx[0] != want.unit:
        found.status, found.code = S_INVALID, R_UNIT
        return found
    if n < 3:
        return found
    if rx[1] == want.function | 0x80:
        size = 5
    elif rx[1] != want.function:
        found.status, found.code = S_INVALID, R_FUNCTION
        return found
    elif want.function == WRITE:
        size = 8
    elif rx[2] != 2 * want.count:
        found.status, found.code = S_INVALID, R_COUNT
        return found
    else:
        size = 5 + 2 * want.count
    if n < size:
        return found
    if n > size:
        found.status, found.code = S_INVALID, R_SURPLUS
        return found
    if gwp_crc(rx, size - 2) != (rx[size - 2] | rx[size - 1] << 8):
        found.status, found.code = S_INVALID, R_CRC
        return found
    found.used = size
    if rx[1] & 0x80:
        if rx[2] == 0:
            found.status, found.code = S_INVALID, R_EXCEPTION
        else:
            found.status, found.code = S_EXCEPTION, rx[2]
    elif want.function == WRITE:
        if (rx[2] << 8 | rx[3]) != want.address or (rx[4] << 8 | rx[5]) != want.count:
            found.status, found.code = S_INVALID, R_ECHO
        else:
            found.status = S_OK
    else:
        found.status, found.at = S_OK, 3
    return found


def judge(framing, bytes data, transaction, unit, function, address, count, waiting=True):
    """The first frame of a stream as the poller judges it; for tests.

    Returns:
        (status, code, used, registers): status −1 while bytes are missing and −2 for another transaction; used counts
        the bytes of the frame; registers are big-endian bytes.
    """
    cdef Want want
    cdef Found found
    cdef const uint8_t* rx = data
    want.transaction, want.unit, want.function = transaction, unit, function
    want.address, want.count = address, count
    found = _tcp(rx, len(data), &want, waiting) if framing == 0 else _rtu(rx, len(data), &want, waiting)
    registers = data[found.at : found.at + 2 * count] if found.status == S_OK and function != WRITE else b""
    return found.status, found.code, found.used, registers


cdef int _frame(Conn* conn, int unit, int function, int address, int count, const uint16_t* words) noexcept nogil:
    """Write a request into the connection's buffer; gives its size."""
    cdef uint8_t* pdu = conn.tx + (7 if conn.framing == 0 else 1)
    cdef int n = 5, i
    cdef uint16_t crc
    pdu[0], pdu[1], pdu[2], pdu[3], pdu[4] = function, address >> 8, address & 255, count >> 8, count & 255
    if function == WRITE:
        pdu[5] = 2 * count
        for i in range(count):
            pdu[6 + 2 * i] = words[i] >> 8
            pdu[7 + 2 * i] = words[i] & 255
        n = 6 + 2 * count
    if conn.framing == 0:
        conn.transaction += 1
        conn.tx[0], conn.tx[1], conn.tx[2], conn.tx[3] = conn.transaction >> 8, conn.transaction & 255, 0, 0
        conn.tx[4], conn.tx[5], conn.tx[6] = (n + 1) >> 8, (n + 1) & 255, unit
        return n + 7
    conn.tx[0] = unit
    crc = gwp_crc(conn.tx, n + 1)
    conn.tx[n + 1], conn.tx[n + 2] = crc & 255, crc >> 8
    return n + 3


# ---- results

cdef void _tell(Lane* lane, int64_t now) noexcept nogil:
    if lane.first_done_ns == 0:
        lane.first_done_ns = now


cdef void _tell_conn(Lane* lane, int i, int status, int code) noexcept nogil:
    """A connection came, failed or went: told at once."""
    cdef Conn* conn = &lane.conns[i]
    conn.told_status, conn.told_code = status, code
    if not conn.told:
        conn.told = 1
        lane.done_conns[lane.n_done_conns] = i
        lane.n_done_conns += 1
    lane.first_done_ns = 1


cdef void _end_block(Lane* lane, int index, int status, int code, int64_t now) noexcept nogil:
    """A poll ended; its next turn is the first of its grid that is not over."""
    cdef Block* block = &lane.blocks[index]
    cdef int64_t late
    if block.due_ns <= now:
        late = (now - block.due_ns) // block.period_ns + 1
        block.skipped += late
        block.due_ns += late * block.period_ns
    block.status, block.code, block.arrival_ns = status, code, now
    block.took_ns, block.was_late_ns = now - lane.conns[block.conn].sent_ns, block.late_ns
    block.reads += status == S_OK
    if not block.pending:
        block.pending = 1
        lane.done_blocks[lane.n_done_blocks] = index
        lane.n_done_blocks += 1
    _tell(lane, now)


cdef void _end_shot(Lane* lane, int index, int status, int code, int64_t now) noexcept nogil:
    cdef Shot* shot = &lane.shots[index]
    if shot.gone:
        shot.used = 0
        return
    shot.status, shot.code, shot.done_ns, shot.done = status, code, now, 1
    shot.took_ns = now - shot.begun_ns if shot.begun_ns else 0
    lane.done_shots[lane.n_done_shots] = index
    lane.n_done_shots += 1
    lane.first_done_ns = 1                                 # somebody waits: at once


cdef void _end(Lane* lane, int i, int status, int code, int64_t now) noexcept nogil:
    """What was outstanding on a connection ended."""
    cdef Conn* conn = &lane.conns[i]
    cdef int kind = conn.kind, index = conn.index
    if kind == NOTHING:
        return
    conn.kind = NOTHING
    conn.free_ns = now + conn.gap_ns
    lane.in_flight -= 1
    if kind == POLL:
        _end_block(lane, index, status, code, now)
    elif kind == SHOT:
        _end_shot(lane, index, status, code, now)


cdef void _take_shot(Conn* conn, Shot* shots) noexcept nogil:
    """Drop the first of the waiting requests from its queue."""
    conn.shot_head = shots[conn.shot_head].next
    if conn.shot_head < 0:
        conn.shot_tail = -1


# ---- connections

cdef void _plan(Lane* lane, int i) noexcept nogil:
    """When a connection must be looked at next, and how urgent it is then."""
    cdef Conn* conn = &lane.conns[i]
    cdef int64_t wake = NEVER, key = NEVER, deadline
    cdef int at
    if conn.state == WAITING:
        wake, key = lane.connect_ns, lane.connect_ns + NS_PER_S  # after what is being polled
    elif conn.state == CONNECTING or (conn.state == OPEN and conn.kind != NOTHING):
        wake, key = conn.deadline_ns, 0
    elif conn.state == OPEN:
        if conn.shot_head >= 0:
            wake, key = conn.free_ns, 0
        else:
            at = conn.first_block
            while at >= 0:
                deadline = lane.blocks[at].due_ns + lane.blocks[at].period_ns
                if deadline < key:
                    key = deadline
                if lane.blocks[at].due_ns < wake:
                    wake = lane.blocks[at].due_ns
                at = lane.blocks[at].next
            if wake < conn.free_ns:
                wake = conn.free_ns
    lane.wake_ns[i], lane.key_ns[i] = wake, key


cdef void _drop(Conn* conn) noexcept nogil:
    if conn.fd >= 0:
        gwp_close(conn.fd)
    conn.fd = -1
    conn.generation += 1
    conn.rx_n, conn.tx_n, conn.tx_at, conn.skip, conn.unsolicited = 0, 0, 0, 0, 0
    conn.state = CLOSED


cdef void _give_up(Lane* lane, int i, int status, int code, int64_t now) noexcept nogil:
    """A connection ended: by us when an answer was wrong or late, else by the peer."""
    cdef Conn* conn = &lane.conns[i]
    cdef bint again = conn.state == OPEN and (
        status == S_NO_ANSWER or (conn.shared and status == S_INVALID))
    cdef int index
    _drop(conn)
    _end(lane, i, status, code, now)
    if again:
        conn.state, conn.resume = WAITING, 1
    else:
        while conn.shot_head >= 0:
            index = conn.shot_head
            _take_shot(conn, lane.shots)
            _end_shot(lane, index, S_LOST, code, now)
        _tell_conn(lane, i, status, code)
    _plan(lane, i)


cdef void _open(Lane* lane, int i, int64_t now) noexcept nogil:
    """Begin to connect, when the limit of a second allows."""
    cdef Conn* conn = &lane.conns[i]
    if now < lane.connect_ns:
        _plan(lane, i)
        return
    lane.connect_ns = now + lane.connect_every_ns
    conn.fd = gwp_socket(&conn.address)
    conn.state = CONNECTING
    conn.deadline_ns = now + conn.timeout_ns
    if conn.fd < 0:
        _give_up(lane, i, S_NO_CONNECTION, errno, now)
        return
    if gwp_connect(conn.fd, &conn.address, conn.address_size) != 0 and errno != EINPROGRESS:
        _give_up(lane, i, S_NO_CONNECTION, errno, now)
        return
    conn.watched = EPOLLIN | EPOLLOUT
    if gwp_watch(lane.ep, EPOLL_CTL_ADD, conn.fd, conn.watched, <uint64_t>i | <uint64_t>conn.generation << 32) != 0:
        _give_up(lane, i, S_NO_CONNECTION, errno, now)
        return
    _plan(lane, i)


cdef void _watch(Lane* lane, int i, int events) noexcept nogil:
    cdef Conn* conn = &lane.conns[i]
    if conn.watched != events:
        conn.watched = events
        gwp_watch(lane.ep, EPOLL_CTL_MOD, conn.fd, events, <uint64_t>i | <uint64_t>conn.generation << 32)


cdef void _connected(Lane* lane, int i, int64_t now) noexcept nogil:
    cdef Conn* conn = &lane.conns[i]
    cdef int error = gwp_error_of(conn.fd)
    if error != 0:
        _give_up(lane, i, S_NO_CONNECTION, error, now)
        return
    conn.state = OPEN
    conn.free_ns = now
    conn.opened += 1
    conn.transaction = <uint16_t>(now >> 10)               # not to be guessed by what was said before
    _watch(lane, i, EPOLLIN)
    if not conn.resume:
        _tell_conn(lane, i, S_OK, 0)
    conn.resume = 0
    _plan(lane, i)


cdef void _write_out(Lane* lane, int i, int64_t now) noexcept nogil:
    """Send what is in the buffer, the rest when the socket takes more."""
    cdef Conn* conn = &lane.conns[i]
    cdef long sent = gwp_send(conn.fd, conn.tx + conn.tx_at, conn.tx_n - conn.tx_at)
    if sent < 0 and errno != EAGAIN and errno != EINTR:
        _give_up(lane, i, S_LOST, errno, now)
        return
    if sent > 0:
        conn.tx_at += <int>sent
    _watch(lane, i, EPOLLIN if conn.tx_at == conn.tx_n else EPOLLIN | EPOLLOUT)


cdef void _ask(
    Lane* lane, int i, int kind, int index, uint8_t unit, uint8_t function, int address, int count,
    const uint16_t* words, int64_t now
) noexcept nogil:
    """Send a request. The only place where anything leaves."""
    cdef Conn* conn = &lane.conns[i]
    conn.tx_n, conn.tx_at = _frame(conn, unit, function, address, count, words), 0
    conn.want.transaction, conn.want.unit, conn.want.function = conn.transaction, unit, function
    conn.want.address, conn.want.count = address, count
    conn.kind, conn.index = kind, index
    conn.skip = conn.rx_n > 0
    conn.sent_ns, conn.deadline_ns = now, now + conn.timeout_ns
    lane.in_flight += 1
    lane.writes += function == WRITE
    _write_out(lane, i, now)
    if conn.state == OPEN:
        _plan(lane, i)


cdef void _ask_shot(Lane* lane, int i, int64_t now) noexcept nogil:
    """Send the first of the waiting requests, unless it may not leave any more."""
    cdef Conn* conn = &lane.conns[i]
    cdef int index = conn.shot_head
    cdef Shot* shot = &lane.shots[index]
    _take_shot(conn, lane.shots)
    if shot.function == WRITE and lane.read_only:
        _end_shot(lane, index, S_FORBIDDEN, 0, now)
        _plan(lane, i)
    elif shot.function == WRITE and shot.expires_ns and gwp_mono() >= shot.expires_ns:
        _end_shot(lane, index, S_EXPIRED, 0, now)
        _plan(lane, i)
    else:
        shot.begun_ns = now
        _ask(lane, i, SHOT, index, shot.unit, shot.function, shot.address, shot.count, shot.words, now)


cdef void _ask_block(Lane* lane, int i, int64_t now) noexcept nogil:
    """Send the due poll whose deadline is the earliest."""
    cdef int at = lane.conns[i].first_block, best = -1, which
    cdef int64_t deadline, earliest = NEVER
    cdef Block* block
    while at >= 0:
        block = &lane.blocks[at]
        deadline = block.due_ns + block.period_ns
        if block.due_ns <= now and deadline < earliest:
            best, earliest = at, deadline
        at = block.next
    if best < 0:
        _plan(lane, i)
        return
    block = &lane.blocks[best]
    block.late_ns = now - block.due_ns
    which = 0 if block.period_ns <= FAST_NS else 1
    lane.late[which][gwp_bucket(block.late_ns)] += 1
    lane.n_late[which] += 1
    block.due_ns += block.period_ns
    _ask(lane, i, POLL, best, block.unit, block.function, block.address, block.count, NULL, now)


cdef void _time_is_up(Lane* lane, int i, int64_t now) noexcept nogil:
    cdef Conn* conn = &lane.conns[i]
    conn.timeouts += 1
    if conn.state == CONNECTING:
        _give_up(lane, i, S_NO_CONNECTION, 110, now)
    elif conn.framing != 0 or conn.rx_n > 0:               # without transactions a late answer could pass for the next,
        _give_up(lane, i, S_NO_ANSWER, 0, now)             # and behind half a frame nothing begins where it should
    else:
        _end(lane, i, S_NO_ANSWER, 0, now)
        _plan(lane, i)


cdef void _due(Lane* lane, int i, int64_t now) noexcept nogil:
    """Do what a connection's time asks for."""
    cdef Conn* conn = &lane.conns[i]
    if conn.state == WAITING:
        _open(lane, i, now)
    elif conn.state == CONNECTING or conn.kind != NOTHING:
        _time_is_up(lane, i, now)
    elif conn.shot_head >= 0:
        _ask_shot(lane, i, now)
    else:
        _ask_block(lane, i, now)


cdef void _answered(Lane* lane, int i, Found found, int64_t now) noexcept nogil:
    """A valid answer to what is outstanding, or an exception."""
    cdef Conn* conn = &lane.conns[i]
    cdef Shot* shot
    conn.answered += 1
    conn.unsolicited = 0
    if found.status == S_EXCEPTION:
        conn.exceptions += 1
        lane.exceptions[found.code if found.code < 12 else 0] += 1
    elif conn.kind == POLL:
        lane.reads += 1
        gwp_words(lane.matrix + <int64_t>conn.index * REGISTERS, conn.rx + found.at, conn.want.count)
    elif conn.kind == SHOT:
        shot = &lane.shots[conn.index]
        if conn.want.function != WRITE:
            gwp_words(shot.words, conn.rx + found.at, conn.want.count)
        elif shot.back_count > 0 and not shot.gone:        # read back before anything else is asked
            shot.function, shot.address, shot.count = READ, shot.back_address, shot.back_count
            shot.back_count = 0
            conn.kind = NOTHING
            lane.in_flight -= 1
            shot.next = conn.shot_head
            conn.shot_head = conn.index
            if conn.shot_tail < 0:
                conn.shot_tail = conn.index
            conn.free_ns = now + conn.gap_ns
            return
    _end(lane, i, found.status, found.code, now)


cdef void _parse(Lane* lane, int i, int64_t now) noexcept nogil:
    """Judge what has arrived on a connection."""
    cdef Conn* conn = &lane.conns[i]
    cdef Found found
    cdef int at = 0, waiting
    cdef int64_t arrival = now
    while at < conn.rx_n:
        waiting = conn.kind != NOTHING and not conn.skip
        if conn.framing == 0:
            found = _tcp(conn.rx + at, conn.rx_n - at, &conn.want, waiting)
        else:
            found = _rtu(conn.rx + at, conn.rx_n - at, &conn.want, conn.kind != NOTHING)
        if found.status == S_MORE:
            break
        if found.status == S_INVALID:
            conn.invalid += 1
            _give_up(lane, i, S_INVALID, found.code, arrival)
            return
        if found.status == S_OTHER:
            conn.late += 1
            conn.unsolicited += 1
            conn.skip = 0
            if conn.unsolicited > UNSOLICITED_MAX:
                conn.invalid += 1
                _give_up(lane, i, S_INVALID, R_SURPLUS, arrival)
                return
        else:
            if at > 0:                                     # registers are read from the front of the buffer
                memmove(conn.rx, conn.rx + at, conn.rx_n - at)
                conn.rx_n -= at
                at = 0
            _answered(lane, i, found, arrival)
        at += found.used
    if at > 0:
        memmove(conn.rx, conn.rx + at, conn.rx_n - at)
        conn.rx_n -= at
    _plan(lane, i)


cdef void _readable(Lane* lane, int i) noexcept nogil:
    cdef Conn* conn = &lane.conns[i]
    cdef long n = gwp_receive(conn.fd, conn.rx + conn.rx_n, RX_BYTES - conn.rx_n)
    cdef int64_t now = gwp_mono()
    if n > 0:
        conn.rx_n += <int>n
        _parse(lane, i, now)
    elif n == 0:
        _give_up(lane, i, S_LOST, 0, now)
    elif errno != EAGAIN and errno != EINTR:
        _give_up(lane, i, S_LOST, errno, now)


cdef void _event(Lane* lane, uint64_t data, uint32_t events) noexcept nogil:
    cdef int i
    cdef Conn* conn
    if data == WAKE:
        gwp_quiet(lane.wake_fd)
        return
    i = <int><uint32_t>data
    conn = &lane.conns[i]
    if not conn.used or conn.fd < 0 or conn.generation != <uint32_t>(data >> 32):
        return                                             # of a connection that is gone
    if conn.state == CONNECTING:
        _connected(lane, i, gwp_mono())
        return
    if events & EPOLLOUT and conn.tx_at < conn.tx_n:
        _write_out(lane, i, gwp_mono())
    if conn.state == OPEN and events & (EPOLLIN | EPOLLERR | EPOLLHUP):
        _readable(lane, i)


cdef int64_t _work(Lane* lane, int64_t now) noexcept nogil:
    """Do what is due, the most urgent first and no more than a few; gives when to look again."""
    cdef int n = 0, i, k, kept, done = 0
    cdef int64_t next_ns = NEVER, key
    for i in range(lane.n_conns):
        if lane.wake_ns[i] <= now:
            lane.ready[n] = i
            n += 1
    while n > 0 and done < SENDS:
        key = NEVER
        for k in range(n):
            if lane.key_ns[lane.ready[k]] < key:
                key = lane.key_ns[lane.ready[k]]
        kept = 0
        for k in range(n):                                 # deadlines within a few ms of each other are equally urgent
            i = lane.ready[k]
            if lane.key_ns[i] - key <= ALIKE_NS and done < SENDS:
                _due(lane, i, gwp_mono())
                done += 1
            else:
                lane.ready[kept] = i
                kept += 1
        n = kept
    for i in range(lane.n_conns):
        if lane.wake_ns[i] < next_ns:
            next_ns = lane.wake_ns[i]
    return next_ns


cdef int64_t _signal(Lane* lane, int64_t now, int64_t next_ns) noexcept nogil:
    """Tell that there are results: of requests at once, of polls together."""
    if lane.first_done_ns == 0 or lane.signalled:
        return next_ns
    if lane.in_flight == 0 or now - lane.first_done_ns >= BATCH_NS:
        lane.signalled = 1
        lane.first_done_ns = 0
        gwp_signal(lane.done_fd)
        return next_ns
    return min(next_ns, lane.first_done_ns + BATCH_NS)


cdef void* _run(void* argument) noexcept nogil:
    cdef Lane* lane = <Lane*>argument
    cdef gwp_event events[64]
    cdef int n, k
    cdef int64_t now, next_ns
    gwp_name()
    if lane.fifo > 0:
        lane.fifo_errno = gwp_fifo(lane.fifo)
    pthread_mutex_lock(&lane.lock)
    while not lane.stop:
        now = gwp_mono()
        next_ns = _work(lane, now)
        next_ns = _signal(lane, gwp_mono(), next_ns)
        pthread_mutex_unlock(&lane.lock)
        n = gwp_wait(lane.ep, events, EVENTS, min(next_ns - gwp_mono(), 1_000_000_000))
        pthread_mutex_lock(&lane.lock)
        for k in range(n):
            _event(lane, gwp_data(&events[k]), gwp_events(&events[k]))
    pthread_mutex_unlock(&lane.lock)
    return NULL


cdef int _free_slot(int* used, int stride, int n) noexcept nogil:
    """The first free entry of a table of structs that begin with ``used``; −1 when it is full."""
    cdef int i
    for i in range(n):
        if (<int*>(<char*>used + <int64_t>i * stride))[0] == 0:
            return i
    return -1


cdef int _without(int* all_, int n, int one) noexcept nogil:
    """Take a number out of a list; gives the list's new length."""
    cdef int k, kept = 0
    for k in range(n):
        if all_[k] != one:
            all_[kept] = all_[k]
            kept += 1
    return kept


class PollerFull(Exception):
    """More connections, blocks or requests than the poller was made for."""


cdef class Poller:
    """See the module.

    Args:
        n_conns: most connections.
        n_blocks: most polled blocks; rows of the matrix.
        n_shots: most requests that wait or are under way.
        read_only: no write ever leaves.
        connects_per_s: most new connections in a second.
        fifo_priority: of SCHED_FIFO, 0 for none; what the machine refuses is told by ``stats``.
    """

    cdef Lane* lane
    cdef pthread_t thread
    cdef readonly object words

    def __cinit__(self, int n_conns, int n_blocks, int n_shots=256, *, bint read_only, double connects_per_s=200.0,
                  int fifo_priority=0):
        if min(n_conns, n_blocks, n_shots) < 1 or connects_per_s <= 0:
            raise ValueError("a poller needs room for at least one of each")
        cdef uint16_t[:, ::1] view
        cdef Lane* lane = <Lane*>calloc(1, sizeof(Lane))
        self.lane = lane
        if lane is NULL:
            raise MemoryError
        lane.ep = lane.wake_fd = lane.done_fd = -1
        if gwp_lock_init(&lane.lock) != 0:
            raise OSError("the poller gets no lock")
        lane.conns = <Conn*>calloc(n_conns, sizeof(Conn))
        lane.blocks = <Block*>calloc(n_blocks, sizeof(Block))
        lane.shots = <Shot*>calloc(n_shots, sizeof(Shot))
        lane.wake_ns = <int64_t*>calloc(n_conns, sizeof(int64_t))
        lane.key_ns = <int64_t*>calloc(n_conns, sizeof(int64_t))
        lane.ready = <int*>calloc(n_conns, sizeof(int))
        lane.done_blocks = <int*>calloc(n_blocks, sizeof(int))
        lane.done_shots = <int*>calloc(n_shots, sizeof(int))
        lane.done_conns = <int*>calloc(n_conns, sizeof(int))
        if not (lane.conns and lane.blocks and lane.shots and lane.wake_ns and lane.key_ns and lane.ready
                and lane.done_blocks and lane.done_shots and lane.done_conns):
            raise MemoryError
        lane.n_conns, lane.n_blocks, lane.n_shots = n_conns, n_blocks, n_shots
        lane.read_only, lane.fifo = read_only, fifo_priority
        lane.connect_every_ns = <int64_t>(1e9 / connects_per_s)
        for i in range(n_conns):
            lane.wake_ns[i] = lane.key_ns[i] = NEVER
        self.words = np.zeros((n_blocks, REGISTERS), np.uint16)
        view = self.words
        lane.matrix = &view[0, 0]
        lane.ep = epoll_create1(EPOLL_CLOEXEC)
        lane.wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)
        lane.done_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)
        if lane.ep < 0 or lane.wake_fd < 0 or lane.done_fd < 0:
            raise OSError(errno, "the poller gets no descriptors")
        gwp_watch(lane.ep, EPOLL_CTL_ADD, lane.wake_fd, EPOLLIN, WAKE)

    def __dealloc__(self):
        cdef Lane* lane = self.lane
        if lane is NULL:
            return
        self._halt()
        for fd in (lane.ep, lane.wake_fd, lane.done_fd):
            if fd >= 0:
                gwp_close(fd)
        pthread_mutex_destroy(&lane.lock)
        free(lane.conns)
        free(lane.blocks)
        free(lane.shots)
        free(lane.wake_ns)
        free(lane.key_ns)
        free(lane.ready)
        free(lane.done_blocks)
        free(lane.done_shots)
        free(lane.done_conns)
        free(lane)

    cdef void _halt(self):
        cdef Lane* lane = self.lane
        cdef int i
        if lane.running:
            lane.stop = 1
            gwp_signal(lane.wake_fd)
            with nogil:
                pthread_join(self.thread, NULL)
            lane.running = 0
        if lane.conns is not NULL:
            for i in range(lane.n_conns):
                if lane.conns[i].used:
                    _drop(&lane.conns[i])
                    lane.conns[i].used = 0

    cdef void _lock(self):
        with nogil:
            pthread_mutex_lock(&self.lane.lock)

    cdef void _unlock(self, bint wake=False):
        pthread_mutex_unlock(&self.lane.lock)
        if wake:
            gwp_signal(self.lane.wake_fd)

    cdef Conn* _conn(self, int i) except NULL:
        if not 0 <= i < self.lane.n_conns or not self.lane.conns[i].used:
            raise ValueError(f"no connection {i}")
        return &self.lane.conns[i]

    def start(self):
        """Begin to poll."""
        if not self.lane.running:
            self.lane.stop = 0
            error = gwp_start(&self.thread, _run, self.lane)
            if error:
                raise OSError(error, "the poller's thread does not start")
            self.lane.running = 1

    def stop(self):
        """End the thread and close every connection."""
        self._halt()

    def fileno(self):
        """Becomes readable when there is something to take."""
        return self.lane.done_fd

    def add_conn(self, str address, int port, int64_t timeout_ns, *, int framing=0, int64_t gap_ns=0,
                 bint shared=False):
        """A connection, closed as yet.

        Args:
            address: numeric.
            port: 1…65535.
            timeout_ns: for connecting and for each answer.
            framing: ``TCP`` or ``RTU``.
            gap_ns: rest between an answer and the next request.
            shared: several units are behind it: a wrong or missing answer of one costs the others nothing more than a
                new connection.

        Raises:
            ValueError: the address is not numeric.
            PollerFull: no room.
        """
        cdef gwp_address parsed
        cdef int size = gwp_parse(&parsed, address.encode(), port), i
        if size == 0 or not 0 < port < 65536 or timeout_ns <= 0 or gap_ns < 0 or framing not in (0, 1):
            raise ValueError(f"{address}:{port} with a time-out of {timeout_ns} ns cannot be used")
        self._lock()
        i = _free_slot(&self.lane.conns[0].used, sizeof(Conn), self.lane.n_conns)
        if i >= 0:
            conn = &self.lane.conns[i]
            generation = conn.generation
            memset(conn, 0, sizeof(Conn))
            conn.generation = generation + 1
            conn.used, conn.fd, conn.framing, conn.shared = 1, -1, framing, shared
            conn.first_block = conn.shot_head = conn.shot_tail = -1
            conn.address, conn.address_size = parsed, size
            conn.timeout_ns, conn.gap_ns = timeout_ns, gap_ns
            _plan(self.lane, i)
        self._unlock()
        if i < 0:
            raise PollerFull(f"no room for more than {self.lane.n_conns} connections")
        return i

    def open(self, int i):
        """Connect; what came of it is told by :meth:`take`. One that stands stays."""
        self._conn(i)
        self._lock()
        if self.lane.conns[i].state == CLOSED:
            self.lane.conns[i].state = WAITING
            _plan(self.lane, i)
        self._unlock(True)

    def close(self, int i):
        """Drop a connection; what waits on it ends as lost, its polls rest."""
        self._conn(i)
        self._lock()
        conn = &self.lane.conns[i]
        conn.shared, shared = 0, conn.shared
        _give_up(self.lane, i, S_LOST, 0, gwp_mono())
        conn.shared = shared
        conn.resume = 0
        if conn.told:                                      # whoever closes knows
            conn.told_status = -1
        self._unlock()

    def remove_conn(self, int i):
        """Drop a connection with its blocks."""
        cdef int at
        self.close(i)
        while True:
            self._lock()
            at = self.lane.conns[i].first_block
            self._unlock()
            if at < 0:
                break
            self.remove_block(at)
        self._lock()
        conn = &self.lane.conns[i]
        if conn.told:
            self.lane.n_done_conns = _without(self.lane.done_conns, self.lane.n_done_conns, i)
        conn.used = 0
        self._unlock()

    def add_block(self, int conn, int unit, int address, int count, int64_t period_ns, int64_t first_ns,
                  *, int function=3):
        """Poll registers.

        Args:
            conn: on which connection.
            unit: 0…255.
            address: first register.
            count: 1…125.
            period_ns: between two reads.
            first_ns: when the first is due, CLOCK_MONOTONIC.
            function: 3 (holding registers) or 4 (input registers).

        Returns:
            The block: its row in ``words``.
        """
        self._conn(conn)
        _check(unit, address, count, REGISTERS)
        if function not in (READ, READ_INPUT) or period_ns <= 0:
            raise ValueError("a poll reads registers, again and again")
        self._lock()
        cdef int i = _free_slot(&self.lane.blocks[0].used, sizeof(Block), self.lane.n_blocks)
        if i >= 0:
            block = &self.lane.blocks[i]
            memset(block, 0, sizeof(Block))
            block.used, block.conn, block.unit, block.function = 1, conn, unit, function
            block.address, block.count, block.period_ns, block.due_ns = address, count, period_ns, first_ns
            block.next = self.lane.conns[conn].first_block
            self.lane.conns[conn].first_block = i
            _plan(self.lane, conn)
        self._unlock(True)
        if i < 0:
            raise PollerFull(f"no room for more than {self.lane.n_blocks} blocks")
        return i

    def remove_block(self, int index):
        """Poll it no more; results not yet taken are gone."""
        cdef Block* block
        cdef Conn* conn
        cdef int at
        if not 0 <= index < self.lane.n_blocks or not self.lane.blocks[index].used:
            raise ValueError(f"no block {index}")
        self._lock()
        block = &self.lane.blocks[index]
        conn = &self.lane.conns[block.conn]
        if conn.first_block == index:
            conn.first_block = block.next
        else:
            at = conn.first_block
            while self.lane.blocks[at].next != index:
                at = self.lane.blocks[at].next
            self.lane.blocks[at].next = block.next
        if conn.kind == POLL and conn.index == index:
            conn.kind = ORPHAN
        if block.pending:
            self.lane.n_done_blocks = _without(self.lane.done_blocks, self.lane.n_done_blocks, index)
        block.used = 0
        _plan(self.lane, block.conn)
        self._unlock()

    def read(self, int conn, int unit, int address, int count):
        """Ask for registers once, before any poll; gives the request's number."""
        _check(unit, address, count, REGISTERS)
        return self._shot(conn, unit, READ, address, (), count, 0, 0, 0)

    def write(self, int conn, int unit, int address, words, *, int64_t expires_ns=0, int back_address=0,
              int back_count=0):
        """Write registers with function 16, before any poll; gives the request's number.

        Args:
            conn: on which connection.
            unit: 0…255.
            address: first register.
            words: 1…123 registers.
            expires_ns: from then on nothing leaves, CLOCK_MONOTONIC; 0 for never.
            back_address: with ``back_count``: registers read back directly after the write was confirmed.
            back_count: 0 reads nothing back.

        Raises:
            PermissionError: the poller is read only.
        """
        if self.lane.read_only:
            raise PermissionError("read only: nothing is written to the field")
        words = tuple(words)
        _check(unit, address, len(words), WRITE_REGISTERS)
        if back_count:
            _check(unit, back_address, back_count, REGISTERS)
        return self._shot(conn, unit, WRITE, address, words, len(words), expires_ns, back_address, back_count)

    cdef int _shot(self, int conn, int unit, int function, int address, words, int count, int64_t expires_ns,
                   int back_address, int back_count) except -1:
        cdef uint16_t[125] values
        cdef int k, i
        cdef Shot* shot
        self._conn(conn)
        for k, word in enumerate(words):
            values[k] = word
        self._lock()
        if self.lane.conns[conn].state != OPEN and not self.lane.conns[conn].resume:
            self._unlock()
            raise ConnectionError("not connected")
        i = _free_slot(&self.lane.shots[0].used, sizeof(Shot), self.lane.n_shots)
        if i >= 0:
            shot = &self.lane.shots[i]
            memset(shot, 0, sizeof(Shot))
            shot.used, shot.conn, shot.next, shot.unit, shot.function = 1, conn, -1, unit, function
            shot.address, shot.count, shot.expires_ns = address, count, expires_ns
            shot.back_address, shot.back_count = back_address, back_count
            memcpy(shot.words, values, len(words) * sizeof(uint16_t))
            if self.lane.conns[conn].shot_tail < 0:
                self.lane.conns[conn].shot_head = i
            else:
                self.lane.shots[self.lane.conns[conn].shot_tail].next = i
            self.lane.conns[conn].shot_tail = i
            _plan(self.lane, conn)
        self._unlock(True)
        if i < 0:
            raise PollerFull(f"no room for more than {self.lane.n_shots} requests")
        return i

    def cancel(self, int index):
        """Nobody waits for a request any more. What has not left yet never leaves."""
        cdef Shot* shot
        cdef Conn* conn
        cdef int at, before = -1
        if not 0 <= index < self.lane.n_shots or not self.lane.shots[index].used:
            return
        self._lock()
        shot = &self.lane.shots[index]
        conn = &self.lane.conns[shot.conn]
        if shot.done:
            self.lane.n_done_shots = _without(self.lane.done_shots, self.lane.n_done_shots, index)
            shot.used = 0
        elif conn.kind == SHOT and conn.index == index:
            shot.gone = 1
        else:
            at = conn.shot_head
            while at >= 0 and at != index:
                before, at = at, self.lane.shots[at].next
            if at == index:
                if before < 0:
                    conn.shot_head = shot.next
                else:
                    self.lane.shots[before].next = shot.next
                if conn.shot_tail == index:
                    conn.shot_tail = before
            shot.used = 0
            _plan(self.lane, shot.conn)
        self._unlock()

    def take(self):
        """What has come since the last call.

        Returns:
            (blocks, words, shots, conns): ``blocks`` (7, k) int64: block, status, code, arrival, round trip and
            lateness in ns, turns skipped so far; ``words`` (k, 125) uint16 copies of their rows; ``shots`` a list of (number, status, code,
            round trip in ns, registers as big-endian bytes); ``conns`` a list of (connection, status, code).
        """
        cdef Lane* lane = self.lane
        cdef int k, n
        cdef int64_t[:, ::1] out
        cdef uint16_t[:, ::1] rows
        cdef Block* block
        cdef Shot* shot
        gwp_quiet(lane.done_fd)
        self._lock()
        n = lane.n_done_blocks
        blocks = np.empty((7, n), np.int64)
        words = np.empty((n, REGISTERS), np.uint16)
        out, rows = blocks, words
        for k in range(n):
            block = &lane.blocks[lane.done_blocks[k]]
            out[0, k], out[1, k], out[2, k] = lane.done_blocks[k], block.status, block.code
            out[3, k], out[4, k], out[5, k] = block.arrival_ns, block.took_ns, block.was_late_ns
            out[6, k] = block.skipped
            memcpy(&rows[k, 0], lane.matrix + <int64_t>lane.done_blocks[k] * REGISTERS, REGISTERS * 2)
            block.pending = 0
        shots = []
        for k in range(lane.n_done_shots):
            shot = &lane.shots[lane.done_shots[k]]
            data = b""
            if shot.status == S_OK and shot.function != WRITE:
                data = np.array(<uint16_t[:shot.count]>shot.words).astype(">u2").tobytes()
            shots.append((lane.done_shots[k], shot.status, shot.code, shot.took_ns, data))
            shot.used = 0
        conns = []
        for k in range(lane.n_done_conns):
            conn = &lane.conns[lane.done_conns[k]]
            if conn.used and conn.told_status >= 0:
                conns.append((lane.done_conns[k], conn.told_status, conn.told_code))
            conn.told = 0
        lane.n_done_blocks = lane.n_done_shots = lane.n_done_conns = 0
        lane.signalled = 0
        lane.first_done_ns = 0
        self._unlock()
        return blocks, words, shots, conns

    def state(self, int i):
        """Of a connection: ``closed``, ``waiting``, ``connecting`` or ``open``."""
        return ("closed", "waiting", "connecting", "open")[self._conn(i).state]

    def counts(self, int i):
        """Of a connection, ever."""
        conn = self._conn(i)
        return {
            "answered": conn.answered, "timeouts": conn.timeouts, "invalid": conn.invalid,
            "exceptions": conn.exceptions, "late": conn.late, "opened": conn.opened,
        }

    def skipped(self, int index):
        """Turns of a block left out because an answer took too long."""
        return self.lane.blocks[index].skipped

    def stats(self):
        """Of the whole: processor time of the thread, reads, writes sent, exceptions by code (0: above 11)."""
        lane = self.lane
        self._lock()
        found = {
            "cpu_ns": gwp_thread_cpu(self.thread) if lane.running else 0, "reads": lane.reads, "writes": lane.writes, "in_flight": lane.in_flight,
            "exceptions": [lane.exceptions[k] for k in range(12)], "fifo_errno": lane.fifo_errno,
        }
        self._unlock()
        return found

    def late_us(self, double share, *, bint fast=True):
        """Quantile of the lateness of polls, upper edge of its bucket; NaN before the first.

        Args:
            share: 0…1.
            fast: of those with periods up to 100 ms, else of the others.
        """
        cdef int which = 0 if fast else 1, k
        cdef uint64_t seen = 0
        self._lock()
        total = self.lane.n_late[which]
        wanted = share * total
        found = float("nan")
        for k in range(BUCKETS):
            seen += self.lane.late[which][k]
            if total and seen >= wanted and seen > 0:
                found = gwp_bucket_end_us(k)
                break
        self._unlock()
        return found

    def forget_lateness(self):
        """Begin the histograms anew."""
        self._lock()
        memset(self.lane.late, 0, sizeof(self.lane.late))
        memset(self.lane.n_late, 0, sizeof(self.lane.n_late))
        self._unlock()


def _check(int unit, int address, int count, int most):
    if not 0 <= unit <= 255:
        raise ValueError(f"unit {unit} is not 0…255")
    if not 1 <= count <= most:
        raise ValueError(f"{count} registers are not 1…{most}")
    if not 0 <= address <= 65_536 - count:
        raise ValueError(f"registers {address}…{address + count - 1} are not in 0…65535")
