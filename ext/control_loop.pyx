# gwanje: flags -ffp-contract=off
"""The 10 ms loop: a thread without the GIL that steps the tie-line controller on absolute deadlines.

Each tick sleeps until its deadline on CLOCK_MONOTONIC (``clock_nanosleep`` with TIMER_ABSTIME: an error never adds up
and a step of the wall clock moves nothing), copies its inputs from the shared tag store as one process image, steps the
controller, and writes the tags of the owner ``control``. It takes no lock, allocates nothing and never meets Python, so
neither a busy interpreter nor a slow part can hold it up. Values reach it through single aligned words.

Several threads, each on a processor of its own, wake for every deadline, and the first to come claims the tick with one
compare-and-swap; the others sleep on. Of a virtual machine's processors the host may take one away for tens of
milliseconds, and a kernel that cannot be preempted may keep one as long: the tick then happens on another one. Only when
all are gone at once, or the claimer is taken away within its microsecond of work, a tick is late.

A tick that wakes a whole period or more after its deadline counts the periods it slept through as lost and goes on with
the next deadline in the future: ticks are skipped, never queued. Lateness goes into a histogram with 16 buckets per
doubling (1 µs up to 32 µs, then 6 %); quantiles are the upper edges, so they never flatter.

SCHED_FIFO, memory locking and pinning to a processor are tried; what the machine refuses is reported by its errno.

Where a microgrid's controller runs beside it, its tags are part of the process image: which law is in force, what it
wants of each battery, and how far the import may go. While its law is one of an island, or the breaker is open, the tick
relays what is wanted; while it is connected the tie-line law controls, with the set-point narrowed or driven to nothing.
Only what is GOOD and no older than 0.3 s counts.

Other parameters are taken between two ticks and only without a bump: the tick that finds them steps two copies of its
state over the same process image, one with the old and one with the new, and goes on with the new when no set-points
differ by more than was allowed. Otherwise the next tick tries again, for as many ticks as were given.
"""

from libc.math cimport INFINITY, NAN, fabs, isfinite
from libc.stdint cimport int32_t, int64_t, uint16_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memset

from gwanje.ext.tagstore cimport StoreView
from gwanje.ext.tie_line cimport (
    BATTERIES_MAX,
    METERS_MAX,
    TIE_HOLD,
    TIE_ISLAND,
    TIE_RUN,
    TieInputs,
    TieParams,
    TieState,
    Measured,
    tie_params,
    tie_reset,
    tie_retune,
    tie_rms_pct,
    tie_step,
)

cdef extern from *:
    """
    #ifndef _GNU_SOURCE
    #define _GNU_SOURCE
    #endif
    #include <errno.h>
    #include <pthread.h>
    #include <sched.h>
    #include <stdint.h>
    #include <string.h>
    #include <sys/mman.h>
    #include <sys/prctl.h>
    #include <sys/resource.h>
    #include <time.h>
    #include <unistd.h>
    #ifndef MCL_ONFAULT
    #define MCL_ONFAULT 4
    #endif

    static inline int64_t gw_now(int which) {
        struct timespec t;
        clock_gettime(which, &t);
        return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
    }
    static inline int64_t gw_mono(void) { return gw_now(CLOCK_MONOTONIC); }
    static inline int64_t gw_utc(void) { return gw_now(CLOCK_REALTIME); }
    static inline void gw_sleep_until(int64_t at) {
        struct timespec t = { at / 1000000000, at % 1000000000 };
        while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL) == EINTR) { }
    }
    static inline int64_t gw_get(const int64_t* p) { return __atomic_load_n(p, __ATOMIC_ACQUIRE); }
    static inline void gw_put(int64_t* p, int64_t v) { __atomic_store_n(p, v, __ATOMIC_RELEASE); }
    static inline int gw_claim(int64_t* p, int64_t seen, int64_t mark) {
        return __atomic_compare_exchange_n(p, &seen, mark, 0, __ATOMIC_ACQ_REL, __ATOMIC_RELAXED);
    }
    static inline void gw_add(int64_t* p, int64_t v) { __atomic_fetch_add(p, v, __ATOMIC_ACQ_REL); }
    /* Keep the first refusal: one thread without its wish makes the loop's answer "refused". */
    static inline void gw_note(int64_t* p, int64_t error) {
        int64_t seen = __atomic_load_n(p, __ATOMIC_ACQUIRE);
        while (seen <= 0 && !__atomic_compare_exchange_n(p, &seen, error, 0, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE)) { }
    }
    static inline double gw_get_real(const double* p) {
        int64_t bits = __atomic_load_n((const int64_t*)p, __ATOMIC_ACQUIRE);
        double v; memcpy(&v, &bits, sizeof v); return v;
    }
    static inline void gw_put_real(double* p, double v) {
        int64_t bits; memcpy(&bits, &v, sizeof v);
        __atomic_store_n((int64_t*)p, bits, __ATOMIC_RELEASE);
    }
    /* 16 buckets per doubling of microseconds. */
    static inline int gw_bucket(int64_t ns) {
        uint64_t us = ns > 0 ? (uint64_t)ns / 1000 : 0;
        if (us < 16) return (int)us;
        int e = 63 - __builtin_clzll(us);
        if (e > 30) return 447;
        return (e - 3) * 16 + (int)((us >> (e - 4)) & 15);
    }
    static inline double gw_bucket_end_us(int i) {
        if (i < 16) return i + 1;
        return (double)((uint64_t)(16 + i % 16 + 1) << (i / 16 - 1));
    }
    /* The calling thread becomes a real-time thread as far as the machine allows; 0 or the errno of each wish. */
    static int gw_fifo(int priority) {
        struct sched_param p;
        memset(&p, 0, sizeof p);
        p.sched_priority = priority;
        prctl(PR_SET_TIMERSLACK, 1, 0, 0, 0);
        return pthread_setschedparam(pthread_self(), SCHED_FIFO, &p);
    }
    static int gw_pin(int cpu) {
        cpu_set_t set;
        CPU_ZERO(&set);
        CPU_SET(cpu, &set);
        return pthread_setaffinity_np(pthread_self(), sizeof set, &set);
    }
    /* Future pages are locked only where no limit could make a later allocation fail. */
    static int gw_lock_memory(void) {
        struct rlimit limit;
        int unlimited = geteuid() == 0 ||
            (getrlimit(RLIMIT_MEMLOCK, &limit) == 0 && limit.rlim_cur == RLIM_INFINITY);
        int flags = unlimited ? MCL_CURRENT | MCL_FUTURE | MCL_ONFAULT : MCL_CURRENT | MCL_ONFAULT;
        return mlockall(flags) == 0 ? 0 : errno;
    }
    static void gw_touch_stack(void) {
        volatile char stack[65536];
        for (unsigned i = 0; i < sizeof stack; i += 4096) stack[i] = 0;
    }
    static int gw_start(pthread_t* thread, void* (*run)(void*), void* argument) {
        return pthread_create(thread, NULL, run, argument);
    }
    static void gw_name(void) { pthread_setname_np(pthread_self(), "gwanje-loop"); }
    """
    ctypedef struct pthread_t:
        pass
    int64_t gw_mono() noexcept nogil
    int64_t gw_utc() noexcept nogil
    void gw_sleep_until(int64_t at) noexcept nogil
    int64_t gw_get(const int64_t* p) noexcept nogil
    void gw_put(int64_t* p, int64_t v) noexcept nogil
    int gw_claim(int64_t* p, int64_t seen, int64_t mark) noexcept nogil
    void gw_add(int64_t* p, int64_t v) noexcept nogil
    void gw_note(int64_t* p, int64_t error) noexcept nogil
    double gw_get_real(const double* p) noexcept nogil
    void gw_put_real(double* p, double v) noexcept nogil
    int gw_bucket(int64_t ns) noexcept nogil
    double gw_bucket_end_us(int i) noexcept nogil
    int gw_fifo(int priority) noexcept nogil
    int gw_pin(int cpu) noexcept nogil
    int gw_lock_memory() noexcept nogil
    void gw_touch_stack() noexcept nogil
    int gw_start(pthread_t* thread, void* (*run)(void*) noexcept nogil, void* argument) noexcept nogil
    void gw_name() noexcept nogil
    int pthread_join(pthread_t thread, void** result) noexcept nogil

cdef enum:
    BUCKETS = 448
    INPUTS_MAX = 256           # 1 import, 64 meters, 16 batteries × 6, lease, breaker, law, limit
    FAST_FIXED = 8
    SLOW_FIXED = 13
    TUNING_FIXED = 3
    OUTPUTS_MAX = 64
    SLOW_EVERY_S = 1
    NOT_TRIED = -1
    THREADS_MAX = 8

cdef enum Swap:                # of parameters: who may touch lane.params_next
    SWAP_IDLE = 0              # nobody needs to
    SWAP_FILLING = 1           # Python
    SWAP_READY = 2             # the next tick, or Python that takes its wish back
    SWAP_TRYING = 3            # a tick

cdef enum SwapResult:
    SWAP_NONE = 0
    SWAP_WAITING = 1
    SWAP_TAKEN = 2
    SWAP_REFUSED = 3

cdef double LAW_TIE = 0.0, LAW_DRIVE = 2.0, LAW_LAST = 5.0   # as LAWS names them
cdef int64_t RELAY_NS = 300000000          # older than this, a microgrid's controller says nothing

cdef uint16_t BAD = 0x8000
cdef uint16_t UNCERTAIN = 0x4000
cdef uint16_t STALE = 1
cdef uint16_t DEVICE_FAILURE = 4
cdef uint16_t SUBSTITUTED = 32
cdef uint16_t BLOCKED = 128
cdef uint16_t NEVER = 1024
cdef uint16_t SIMULATED = 2048

FAST = (
    "control.tie.import_setpoint_w",
    "control.tie.error_w",
    "control.tie.net_load_w",
    "control.tie.demand_w",
    "control.tie.unserved_w",
    "control.tie.mode",
    "control.loop.ticks",
    "control.loop.ticks_lost",
)
"""Tags that every tick writes, in this order, before the set-points of the batteries."""

SLOW = (
    "control.tie.rms_pct",
    "control.tie.correction_w",
    "control.loop.late_p50_us",
    "control.loop.late_p99_us",
    "control.loop.late_p999_us",
    "control.loop.late_max_us",
    "control.loop.step_max_us",
    "control.loop.fifo",
    "control.tie.strategy",
    "control.tuning.bump_pct",
    "control.tuning.change_set",
    "control.tuning.kept",
    "control.tuning.watch_left_s",
)
"""Tags that are written once a second, in this order."""

LAWS = ("tie", "island", "drive_tie_to_zero", "sync", "energise", "off")
"""Values of the tag in which a microgrid's controller shows its law."""

SWAP_WAITS, SWAP_DONE, SWAP_REFUSES = SWAP_WAITING, SWAP_TAKEN, SWAP_REFUSED
"""States of a change of parameters: the loop tries; it has taken them; it could not without a bump."""

cdef struct Lane:
    int64_t next_ns            # deadline of the next tick, even; odd while a thread is at work on the tick before it
    TieParams params
    TieState state
    TieInputs inputs
    int64_t period_ns
    # wishes, written by Python
    int64_t stop
    int64_t lease_until_ns
    int64_t batteries_leased   # bit k: the set-point of battery k is covered
    int64_t fifo_priority
    double setpoint_w
    double strategy
    double tuning[3]
    # other parameters: whoever holds `swap` may touch the rest
    int64_t swap
    TieParams params_next
    double bump_w_max
    int64_t swap_tries         # left
    int64_t swap_forced        # the last try takes them whatever the bump
    int64_t swap_result
    double bump_w              # of the last try
    TieState tried_old
    TieState tried_new
    # reports, written by the thread
    int64_t ticks
    int64_t lost
    int64_t late_max_ns
    int64_t step_max_ns
    int64_t fifo_errno
    int64_t pin_errno
    int64_t lock_errno
    int64_t in_force
    int64_t relaying
    int64_t running
    uint64_t late[448]
    # process image
    int n_inputs
    int32_t input_ids[256]
    double input_value[256]
    uint16_t input_quality[256]
    int64_t input_utc_ns[256]
    int64_t input_mono_ns[256]
    bint input_present[256]
    # outputs
    int n_fast
    int n_slow
    int32_t fast_ids[64]
    int32_t slow_ids[64]
    double value[64]
    uint16_t quality[64]
    int64_t utc_ns[64]
    void* store
    void* tick


cdef void _take(Lane* lane, int slot, int64_t now, Measured* target) noexcept nogil:
    target.usable = lane.input_present[slot] and (lane.input_quality[slot] & BAD) == 0
    target.value = lane.input_value[slot]
    target.age_s = 1e-9 * <double>(now - lane.input_mono_ns[slot])


cdef double _number(Lane* lane, int slot) noexcept nogil:
    """A value that may be used, else NaN."""
    if lane.input_present[slot] and (lane.input_quality[slot] & BAD) == 0:
        return lane.input_value[slot]
    return NAN


cdef double _said(Lane* lane, int slot, int64_t now) noexcept nogil:
    """What a microgrid's controller says: good and just now, else NaN."""
    if (lane.input_present[slot] and (lane.input_quality[slot] & (BAD | UNCERTAIN)) == 0
            and now - lane.input_mono_ns[slot] <= RELAY_NS):
        return lane.input_value[slot]
    return NAN


cdef void _microgrid(Lane* lane, int64_t now) noexcept nogil:
    """What the microgrid's controller says; nothing where the site has none."""
    cdef int m = lane.params.n_meters, n = lane.params.n_batteries, k, slot = 3 + m + 5 * n
    cdef double law = _said(lane, slot, now), closed = _number(lane, slot - 1)
    cdef bint relays = law > LAW_TIE and law <= LAW_LAST and law != LAW_DRIVE
    if not lane.input_present[slot]:
        lane.inputs.island = False
    elif relays or closed == 0.0:
        lane.inputs.island = True
    elif closed == closed or law == law:                   # closed, or a law of the tie line: one of both must say so
        lane.inputs.island = False
    lane.inputs.import_limit_w = _said(lane, slot + 1, now)
    lane.inputs.driven_w = 0.0 if law == LAW_DRIVE else NAN
    for k in range(n):
        lane.inputs.battery[k].wanted_w = _said(lane, slot + 2 + k, now) if relays else NAN
    lane.relaying = lane.inputs.island


cdef void _image(StoreView store, Lane* lane, int64_t now) noexcept nogil:
    """One process image: import, meters, batteries, lease, breaker, what a microgrid's controller says."""
    cdef int m = lane.params.n_meters, n = lane.params.n_batteries, k, slot
    cdef double until_s
    cdef int64_t leased
    store.gather(lane.input_ids, lane.n_inputs, now, lane.input_value, lane.input_quality, lane.input_utc_ns,
                 lane.input_mono_ns)
    _take(lane, 0, now, &lane.inputs.import_w)
    lane.inputs.import_stamp = lane.input_mono_ns[0]
    for k in range(m):
        _take(lane, 1 + k, now, &lane.inputs.meters[k])
    slot = 1 + m + 5 * n
    if lane.input_present[slot]:
        until_s = _number(lane, slot)
        lane.in_force = 1 if isfinite(until_s) and 1e-9 * <double>now < until_s else 0
    else:
        lane.in_force = 1 if now < gw_get(&lane.lease_until_ns) else 0
    _microgrid(lane, now)
    if _number(lane, slot + 1) == 0.0 and not lane.inputs.island:
        lane.in_force = 0                                  # cut off from the utility there is no import to control
    leased = gw_get(&lane.batteries_leased)
    lane.inputs.in_force = lane.in_force != 0
    lane.inputs.setpoint_w = gw_get_real(&lane.setpoint_w)
    for k in range(n):
        slot = 1 + m + 5 * k
        _take(lane, slot, now, &lane.inputs.battery[k].discharge)
        _take(lane, slot + 1, now, &lane.inputs.battery[k].soc)
        lane.inputs.battery[k].online = (leased >> k) & 1 and (
            not lane.input_present[slot + 2] or _number(lane, slot + 2) == 1.0)
        lane.inputs.battery[k].charge_w_max = _number(lane, slot + 3)
        lane.inputs.battery[k].discharge_w_max = _number(lane, slot + 4)


cdef void _write_fast(StoreView store, Lane* lane, int64_t now, int64_t utc) noexcept nogil:
    cdef TieState* state = &lane.state
    cdef bint active = state.mode == TIE_RUN or state.mode == TIE_HOLD or state.mode == TIE_ISLAND
    cdef uint16_t origin = 0, missing = 0, fresh
    cdef int k
    for k in range(lane.params.n_meters):
        origin |= lane.input_quality[1 + k] & SIMULATED
        if not state.meter_live[k]:
            missing = UNCERTAIN | SUBSTITUTED
    fresh = 0 if state.import_since_s <= lane.params.import_hold_s else BAD | STALE
    lane.value[0], lane.quality[0] = state.setpoint_w, 0 if isfinite(state.setpoint_w) else BAD | NEVER
    lane.value[1], lane.quality[1] = state.error_w, fresh | (lane.input_quality[0] & SIMULATED)
    if not isfinite(state.error_w):
        lane.quality[1] |= BAD
    lane.value[2], lane.quality[2] = state.net_load_w, missing | origin
    lane.value[3], lane.quality[3] = state.demand_w, 0 if active else UNCERTAIN | BLOCKED
    lane.value[4], lane.quality[4] = state.unserved_w, 0 if active else UNCERTAIN | BLOCKED
    lane.value[5], lane.quality[5] = state.mode, 0
    lane.value[6], lane.quality[6] = <double>lane.ticks, 0
    lane.value[7], lane.quality[7] = <double>lane.lost, 0
    for k in range(lane.params.n_batteries):
        lane.value[FAST_FIXED + k] = state.battery[k].setpoint_w
        if not active:
            lane.quality[FAST_FIXED + k] = UNCERTAIN | BLOCKED
        elif not state.battery[k].usable:
            lane.quality[FAST_FIXED + k] = UNCERTAIN | DEVICE_FAILURE
        else:
            lane.quality[FAST_FIXED + k] = 0
    for k in range(lane.n_fast):
        lane.utc_ns[k] = utc
    store.put(lane.fast_ids, lane.n_fast, lane.value, lane.quality, lane.utc_ns, now)


cdef void _write_slow(StoreView store, Lane* lane, int64_t now, int64_t utc) noexcept nogil:
    cdef int k
    for k in range(lane.n_slow):
        lane.quality[k] = 0
        lane.utc_ns[k] = utc
    lane.value[0] = tie_rms_pct(&lane.state, &lane.params)
    lane.quality[0] = lane.input_quality[0] & SIMULATED
    if not isfinite(lane.value[0]):
        lane.quality[0] |= BAD | NEVER
    lane.value[1] = lane.state.integral_w
    lane.value[2] = _quantile_us(lane, 0.5)
    lane.value[3] = _quantile_us(lane, 0.99)
    lane.value[4] = _quantile_us(lane, 0.999)
    lane.value[5] = 1e-3 * <double>lane.late_max_ns
    lane.value[6] = 1e-3 * <double>lane.step_max_ns
    lane.value[7] = 1.0 if lane.fifo_errno == 0 else 0.0
    lane.value[8] = gw_get_real(&lane.strategy)
    lane.value[9] = 100.0 * gw_get_real(&lane.bump_w) / lane.params.rating_w
    if not isfinite(lane.value[9]):
        lane.quality[9] = BAD | NEVER
    for k in range(TUNING_FIXED):
        lane.value[10 + k] = gw_get_real(&lane.tuning[k])
    store.put(lane.slow_ids, lane.n_slow, lane.value, lane.quality, lane.utc_ns, now)


cdef double _quantile_us(const Lane* lane, double share) noexcept nogil:
    """Upper edge of the bucket that holds the quantile, not above the greatest; NaN before the first tick."""
    cdef uint64_t total = 0, reached = 0, wanted
    cdef double end
    cdef int i
    for i in range(BUCKETS):
        total += lane.late[i]
    if total == 0:
        return NAN
    wanted = <uint64_t>(share * <double>total)
    if <double>wanted < share * <double>total:
        wanted += 1
    for i in range(BUCKETS):
        reached += lane.late[i]
        if reached >= wanted and lane.late[i] > 0:
            end = gw_bucket_end_us(i)
            return end if end < 1e-3 * <double>lane.late_max_ns else 1e-3 * <double>lane.late_max_ns
    return 1e-3 * <double>lane.late_max_ns


cdef double _bump_w(const Lane* lane) noexcept nogil:
    """By how much the two tried steps differ; infinite when they do different things."""
    cdef double sum_w = 0.0
    cdef int k
    if lane.tried_old.mode != lane.tried_new.mode:
        return INFINITY
    for k in range(lane.params.n_batteries):
        if lane.tried_old.battery[k].usable != lane.tried_new.battery[k].usable:
            return INFINITY
        sum_w += fabs(lane.tried_old.battery[k].setpoint_w - lane.tried_new.battery[k].setpoint_w)
    return sum_w


cdef void _try_params(Lane* lane, double dt_s) noexcept nogil:
    """A step with the old parameters and one with the new; the state goes on with the new unless that is a bump."""
    cdef double bump_w
    lane.tried_old = lane.state
    tie_step(&lane.tried_old, &lane.inputs, &lane.params, dt_s)
    lane.tried_new = lane.state
    tie_retune(&lane.tried_new, &lane.params, &lane.params_next)
    tie_step(&lane.tried_new, &lane.inputs, &lane.params_next, dt_s)
    bump_w = _bump_w(lane)
    gw_put_real(&lane.bump_w, bump_w)
    lane.swap_tries -= 1
    if bump_w <= lane.bump_w_max or (lane.swap_forced and lane.swap_tries <= 0):
        lane.state = lane.tried_new
        lane.params = lane.params_next
        gw_put(&lane.swap_result, SWAP_TAKEN)
        gw_put(&lane.swap, SWAP_IDLE)
        return
    lane.state = lane.tried_old
    if lane.swap_tries <= 0:
        gw_put(&lane.swap_result, SWAP_REFUSED)
        gw_put(&lane.swap, SWAP_IDLE)
    else:
        gw_put(&lane.swap, SWAP_READY)


cdef void _tick(StoreView store, Lane* lane, int64_t now, double dt_s) noexcept nogil:
    cdef int64_t utc = gw_utc()
    _image(store, lane, now)
    if gw_get(&lane.swap) == SWAP_READY and gw_claim(&lane.swap, SWAP_READY, SWAP_TRYING):
        _try_params(lane, dt_s)
    else:
        tie_step(&lane.state, &lane.inputs, &lane.params, dt_s)
    _write_fast(store, lane, now, utc)
    if lane.ticks % (SLOW_EVERY_S * 1000000000 // lane.period_ns) == 1:
        _write_slow(store, lane, now, utc)


# A thread without the GIL may not hold a counted reference; it borrows the one that the ControlLoop keeps.
ctypedef void (*Tick)(void* store, Lane* lane, int64_t now, double dt_s) noexcept nogil


cdef struct Racer:
    Lane* lane
    int64_t cpu                # to stay on; -1 for any
    pthread_t thread


cdef void* _run(void* argument) noexcept nogil:
    cdef Racer* racer = <Racer*>argument
    cdef Lane* lane = racer.lane
    cdef int64_t deadline, now
    gw_name()
    gw_touch_stack()
    gw_note(&lane.pin_errno, gw_pin(<int>racer.cpu) if racer.cpu >= 0 else NOT_TRIED)
    gw_note(&lane.fifo_errno, gw_fifo(<int>lane.fifo_priority) if lane.fifo_priority > 0 else NOT_TRIED)
    while not gw_get(&lane.stop):
        deadline = gw_get(&lane.next_ns)
        if deadline & 1:                                   # somebody is at work: the next one may be ours
            deadline += lane.period_ns - 1
            now = gw_mono()
            if deadline <= now:                            # held up in its work: never spin at this priority
                deadline = now + lane.period_ns
            gw_sleep_until(deadline)
            continue
        gw_sleep_until(deadline)
        if gw_claim(&lane.next_ns, deadline, deadline | 1):
            _claimed(lane, deadline)
    gw_add(&lane.running, -1)
    return NULL


cdef void _claimed(Lane* lane, int64_t deadline) noexcept nogil:
    """The tick of a deadline, by the thread that claimed it; then the next deadline is up for all."""
    cdef int64_t now = gw_mono(), late, skipped, spent
    late = now - deadline
    if late < 0:
        late = 0
    skipped = late // lane.period_ns
    lane.ticks += 1
    lane.lost += skipped
    lane.late[gw_bucket(late)] += 1
    if late > lane.late_max_ns:
        lane.late_max_ns = late
    (<Tick>lane.tick)(lane.store, lane, now, 1e-9 * <double>((1 + skipped) * lane.period_ns))
    spent = gw_mono() - now
    if spent > lane.step_max_ns:
        lane.step_max_ns = spent
    gw_put(&lane.next_ns, deadline + (1 + skipped) * lane.period_ns)


cdef class ControlLoop:
    """The loop of one connection.

    Args:
        store: the tag store; the caller holds the writer's place of the owner ``control``.
        scalars: (25,), ``delay_steps``, ``battery`` (n, 4) and ``meter_sign`` (m,): see :class:`TieLine`.
        inputs: (5 + m + 6 n,) tag ids: import; the meters; of each battery discharge, state of charge, online,
            charge_w_max, discharge_w_max; the lease and the breaker; of a microgrid's controller the law, the limit of
            the import and what it wants of each battery. -1 where the site has no such tag.
        fast: (8 + n,) tag ids of ``FAST`` and the set-points.
        slow: (13,) tag ids of ``SLOW``.
        period_ns: of the loop.

    Raises:
        ValueError: sizes, ids or parameters do not fit.
    """

    cdef Lane* lane
    cdef StoreView store
    cdef Racer racers[8]
    cdef int n_racers
    cdef bint started

    def __cinit__(self):
        self.lane = <Lane*>calloc(1, sizeof(Lane))
        if self.lane == NULL:
            raise MemoryError()

    def __init__(self, StoreView store not None, const double[::1] scalars not None, int delay_steps,
                 const double[:, ::1] battery not None, const double[::1] meter_sign not None,
                 const int32_t[::1] inputs not None, const int32_t[::1] fast not None,
                 const int32_t[::1] slow not None, int64_t period_ns=10_000_000):
        cdef int k
        if self.started:
            raise ValueError("the loop runs")
        if not 100_000 <= period_ns <= 1_000_000_000 or period_ns % 2:
            raise ValueError(f"a period of {period_ns} ns is not even and within 0.1 ms … 1 s")
        tie_params(&self.lane.params, scalars, delay_steps, battery, meter_sign)
        if inputs.shape[0] != 5 + meter_sign.shape[0] + 6 * battery.shape[0]:
            raise ValueError(f"{inputs.shape[0]} input tags do not fit the meters and batteries")
        if fast.shape[0] != FAST_FIXED + battery.shape[0] or slow.shape[0] != SLOW_FIXED:
            raise ValueError("output tags do not fit the batteries")
        self.store = store
        self.lane.store = <void*>store
        self.lane.tick = <void*>_tick
        self.lane.period_ns = period_ns
        self.lane.n_inputs = <int>inputs.shape[0]
        self.lane.n_fast = <int>fast.shape[0]
        self.lane.n_slow = <int>slow.shape[0]
        for k in range(self.lane.n_inputs):
            if not -1 <= inputs[k] < store.n:
                raise ValueError(f"input tag id {inputs[k]} is outside the store")
            self.lane.input_present[k] = inputs[k] >= 0
            self.lane.input_ids[k] = inputs[k] if inputs[k] >= 0 else 0
        _own(self.lane.fast_ids, fast, store.n)
        _own(self.lane.slow_ids, slow, store.n)
        self.lane.setpoint_w = NAN
        self.lane.bump_w = NAN
        self.lane.strategy = 0.0
        self.lane.batteries_leased = (1 << BATTERIES_MAX) - 1
        self.lane.fifo_errno = NOT_TRIED
        self.lane.pin_errno = NOT_TRIED
        self.lane.lock_errno = NOT_TRIED
        tie_reset(&self.lane.state, &self.lane.params)

    def __dealloc__(self):
        if self.lane != NULL:
            self._join()
            free(self.lane)

    def start(self, int fifo_priority=80, cpus=(-1,), bint lock_memory=True):
        """Start the threads.

        Args:
            fifo_priority: of SCHED_FIFO, 1…99; 0 does not ask for it.
            cpus: one thread for each, which stays on that processor; -1 for any.
            lock_memory: keep this process's pages in memory.

        Raises:
            RuntimeError: it runs already, or the machine refuses a thread.
        """
        if self.started:
            raise RuntimeError("the control loop runs already")
        if not 0 <= fifo_priority <= 99 or not all(-1 <= cpu < 1024 for cpu in cpus):
            raise ValueError("priority or processor out of range")
        if not 1 <= len(cpus) <= THREADS_MAX:
            raise ValueError(f"the loop takes 1 … {THREADS_MAX} threads")
        if lock_memory:
            self.lane.lock_errno = gw_lock_memory()
        self.lane.fifo_priority = fifo_priority
        self.lane.fifo_errno = self.lane.pin_errno = NOT_TRIED
        gw_put(&self.lane.stop, 0)
        gw_put(&self.lane.running, 0)
        # An odd deadline means "claimed", so periods and deadlines are even.
        gw_put(&self.lane.next_ns, (gw_mono() + self.lane.period_ns) & ~<int64_t>1)
        self.started = True
        cdef int error
        for cpu in cpus:
            self.racers[self.n_racers].lane = self.lane
            self.racers[self.n_racers].cpu = cpu
            gw_add(&self.lane.running, 1)
            error = gw_start(&self.racers[self.n_racers].thread, _run, <void*>&self.racers[self.n_racers])
            if error != 0:
                gw_add(&self.lane.running, -1)
                self._join()
                raise RuntimeError(f"the control loop's thread cannot be made: errno {error}")
            self.n_racers += 1

    cdef void _join(self) noexcept:
        cdef int k
        gw_put(&self.lane.stop, 1)
        for k in range(self.n_racers):
            with nogil:
                pthread_join(self.racers[k].thread, NULL)
        self.n_racers = 0
        self.started = False

    def stop(self):
        """Stop the threads and wait for them: one period at most."""
        self._join()

    def tick(self, int64_t now_mono_ns, double dt_s):
        """One tick in the caller's thread, for tests and replay.

        Raises:
            RuntimeError: the thread runs.
        """
        if self.started:
            raise RuntimeError("the control loop runs")
        with nogil:
            self.lane.ticks += 1
            _tick(self.store, self.lane, now_mono_ns, dt_s)

    def set_setpoint(self, double setpoint_w):
        """Wanted import, W; the last one stays when it is no number."""
        gw_put_real(&self.lane.setpoint_w, setpoint_w)

    def set_strategy(self, double strategy):
        """What ``control.tie.strategy`` shows."""
        gw_put_real(&self.lane.strategy, strategy)

    def set_tuning(self, double change_set, double kept, double watch_left_s):
        """What ``control.tuning.change_set``, ``.kept`` and ``.watch_left_s`` show."""
        gw_put_real(&self.lane.tuning[0], change_set)
        gw_put_real(&self.lane.tuning[1], kept)
        gw_put_real(&self.lane.tuning[2], watch_left_s)

    def set_params(self, const double[::1] scalars not None, int delay_steps, const double[:, ::1] battery not None,
                   const double[::1] meter_sign not None, double bump_w_max, int64_t tries=100, bint force=False):
        """Go on with other parameters from one of the next ticks, without a bump; see :attr:`swapped`.

        What an earlier call still waits for is given up.

        Args:
            scalars: and the next three as for the constructor, of as many batteries and meters.
            bump_w_max: greatest sum of the differences that the change makes in the set-points of one tick.
            tries: ticks in which it is tried.
            force: take them at the last try whatever the bump.

        Raises:
            ValueError: a parameter is out of range, or does not fit the loop.
            RuntimeError: a tick is held up in the middle of a try; ask again.
        """
        cdef TieParams after
        cdef int spin
        cdef bint mine = False
        tie_params(&after, scalars, delay_steps, battery, meter_sign)
        if (after.n_batteries != self.lane.params.n_batteries or after.n_meters != self.lane.params.n_meters
                or after.rating_w != self.lane.params.rating_w):
            raise ValueError("another rating, or other numbers of batteries or meters than the loop's")
        if not (bump_w_max >= 0.0 and tries >= 1):
            raise ValueError("a bump or a number of tries out of range")
        for spin in range(100_000):
            mine = (gw_claim(&self.lane.swap, SWAP_IDLE, SWAP_FILLING)
                    or gw_claim(&self.lane.swap, SWAP_READY, SWAP_FILLING))
            if mine:
                break
        if not mine:
            raise RuntimeError("the control loop is held up while it tries other parameters")
        self.lane.params_next = after
        self.lane.bump_w_max = bump_w_max
        self.lane.swap_tries = tries
        self.lane.swap_forced = force
        gw_put(&self.lane.swap_result, SWAP_WAITING)
        gw_put(&self.lane.swap, SWAP_READY)

    @property
    def swapped(self):
        """Of the last :meth:`set_params`: ``SWAP_WAITS``, ``SWAP_DONE``, ``SWAP_REFUSES`` or 0 for none; and the bump
        of the last try in W, infinite when the mode or the batteries in use would have changed, NaN before the first.
        """
        return (gw_get(&self.lane.swap_result), gw_get_real(&self.lane.bump_w))

    def set_lease(self, int64_t until_mono_ns):
        """Lease for sites without a lease tag: valid before this."""
        gw_put(&self.lane.lease_until_ns, until_mono_ns)

    def set_leased_batteries(self, int64_t bits):
        """Which batteries the lease covers, bit k for battery k; the others are left alone."""
        gw_put(&self.lane.batteries_leased, bits)

    @property
    def running(self):
        """The threads are there and were not told to stop."""
        return bool(self.started and gw_get(&self.lane.running) > 0)

    @property
    def ticks(self):
        """Ticks so far."""
        return gw_get(&self.lane.ticks)

    @property
    def lost(self):
        """Periods slept through so far."""
        return gw_get(&self.lane.lost)

    @property
    def late_max_us(self):
        """Greatest lateness so far."""
        return 1e-3 * <double>gw_get(&self.lane.late_max_ns)

    @property
    def step_max_us(self):
        """Longest work of a tick so far, from wake-up to the last tag."""
        return 1e-3 * <double>gw_get(&self.lane.step_max_ns)

    def late_us(self, double share):
        """Quantile of the lateness: the upper edge of its bucket, NaN before the first tick."""
        if not 0.0 < share <= 1.0:
            raise ValueError("a quantile lies within (0, 1]")
        return _quantile_us(self.lane, share)

    def reset_statistics(self):
        """Begin the lateness histogram anew, after a warm-up; only while the loop stands still."""
        if self.started:
            raise RuntimeError("the control loop runs")
        memset(self.lane.late, 0, sizeof(self.lane.late))
        self.lane.ticks = self.lane.lost = self.lane.late_max_ns = self.lane.step_max_ns = 0

    @property
    def refused(self):
        """errno of (SCHED_FIFO, pinning, memory locking): 0 granted, -1 not tried."""
        return (gw_get(&self.lane.fifo_errno), gw_get(&self.lane.pin_errno), gw_get(&self.lane.lock_errno))

    @property
    def mode(self):
        """Mode of the controller: 0 waiting, 1 tracking, 2 controlling, 3 holding, 4 relaying in an island."""
        return self.lane.state.mode

    @property
    def in_force(self):
        """The lease was valid at the last tick, and the breaker not open or an island's controller relayed."""
        return bool(gw_get(&self.lane.in_force))

    @property
    def relaying(self):
        """At the last tick the batteries were for an island's controller to command."""
        return bool(gw_get(&self.lane.relaying))

    @property
    def stuck(self):
        """The import keeps one value while the rest moves."""
        return bool(self.lane.state.stuck)

    @property
    def meters_live(self):
        """Whether each meter is part of the feed-forward."""
        return tuple(bool(self.lane.state.meter_live[k]) for k in range(self.lane.params.n_meters))

    @property
    def batteries_usable(self):
        """Whether each battery takes part."""
        return tuple(bool(self.lane.state.battery[k].usable) for k in range(self.lane.params.n_batteries))

    @property
    def batteries_limited(self):
        """Whether each battery is held near what it delivers because it does not follow."""
        return tuple(bool(self.lane.state.battery[k].limited) for k in range(self.lane.params.n_batteries))

    @property
    def import_w(self):
        """Last good import; NaN before the first."""
        if self.lane.state.import_since_s > 1e8:
            return NAN
        return self.lane.state.import_w

    @property
    def net_load_w(self):
        """The feed-forward."""
        return self.lane.state.net_load_w

    @property
    def correction_w(self):
        """What the observer adds to the feed-forward."""
        return self.lane.state.integral_w

    @property
    def socs(self):
        """Last good state of charge of each battery; NaN before the first."""
        return tuple(
            self.lane.state.battery[k].soc if self.lane.state.battery[k].soc_since_s < 1e8 else NAN
            for k in range(self.lane.params.n_batteries))

    @property
    def rms_pct(self):
        """Root mean square of the tie error, percent of the rating; NaN before the first rated sample."""
        return tie_rms_pct(&self.lane.state, &self.lane.params)


cdef int _own(int32_t* target, const int32_t[::1] ids, Py_ssize_t n) except -1:
    cdef int k
    for k in range(<int>ids.shape[0]):
        if not 0 <= ids[k] < n:
            raise ValueError(f"output tag id {ids[k]} is outside the store")
        target[k] = ids[k]
    return 0
