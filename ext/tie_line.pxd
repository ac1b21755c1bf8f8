"""C level of the tie-line controller, for the control loop."""

from libc.stdint cimport int64_t

cdef enum:
    BATTERIES_MAX = 16         # batteries behind one connection
    METERS_MAX = 64            # meters of the feed-forward
    PATH_MAX = 128             # steps of pure delay
    TIE_SCALARS = 25           # scalar parameters

cdef enum TieMode:
    TIE_WAIT = 0
    TIE_TRACK = 1
    TIE_RUN = 2
    TIE_HOLD = 3
    TIE_ISLAND = 4

cdef struct TieParams:
    double rating_w            # the scalars stand in the order of the reference's TieLineParams
    double ki_per_s
    double kp
    double lead_s
    double lead_filter_s
    double lead_w_max
    double lag_s
    double import_hold_s
    double import_fail_s
    double recover_s
    double stuck_w
    double meter_hold_s
    double ess_hold_s
    double ess_known_s
    double soc_hold_s
    double soc_min
    double soc_max
    double taper_s
    double participation_floor
    double follow_tolerance
    double follow_window
    double follow_release
    double follow_s
    double release_s
    double rms_start_s
    int delay_steps
    int n_batteries
    int n_meters
    double charge_w_max[16]
    double discharge_w_max[16]
    double ramp_w_per_s[16]
    double energy_ws[16]
    double meter_sign[64]

cdef struct Measured:
    double value
    double age_s
    bint usable                # quality is not BAD

cdef struct TieBatteryInputs:
    Measured discharge
    Measured soc
    double charge_w_max        # as the device reports it; NaN when it is not known
    double discharge_w_max
    double wanted_w            # of an island's controller; NaN when it says nothing
    bint online

cdef struct TieInputs:
    double setpoint_w
    double import_limit_w      # the import's set-point is narrowed to it; NaN for none
    double driven_w            # … or goes there, whatever it was; NaN for none
    bint in_force
    bint island                # supply is the site's own: relay what its controller wants
    Measured import_w
    int64_t import_stamp
    Measured meters[64]
    TieBatteryInputs battery[16]

cdef struct TieBattery:
    double setpoint_w
    double power_w
    double power_since_s
    double soc
    double soc_since_s
    double model_w
    double missing_s
    double following_s
    double measured_w          # what it is taken to deliver in this step
    bint usable
    bint was_usable            # in the step before
    bint limited
    double unwanted_s          # in an island: for how long nothing has been wanted of it
    double path[128]

cdef struct TieState:
    int mode
    bint seeded                # the integral fits the measured powers, so that control may begin
    double setpoint_w          # in force
    double own_w               # as it was asked for
    bint gliding               # the one in force is on its way, or narrowed
    double integral_w
    double slow_w
    double import_w
    double import_since_s
    double recovered_s
    double stuck_value
    double stuck_expected_w
    int64_t stamp
    double elapsed_s
    double square_sum
    int64_t square_count
    double price
    int head                   # index of the oldest entry of every path
    double meter_value[64]
    double meter_since_s[64]
    bint meter_live[64]
    TieBattery battery[16]
    # outputs of the last step
    double error_w
    double net_load_w
    double demand_w
    double unserved_w
    bint stuck

cdef void tie_reset(TieState* state, const TieParams* params) noexcept nogil
cdef void tie_step(TieState* state, const TieInputs* inputs, const TieParams* params, double dt_s) noexcept nogil
cdef void tie_retune(TieState* state, const TieParams* before, const TieParams* after) noexcept nogil
cdef double tie_rms_pct(const TieState* state, const TieParams* params) noexcept nogil
cdef int tie_params(TieParams* params, const double[::1] scalars, int delay_steps, const double[:, ::1] battery,
                    const double[::1] meter_sign) except -1
