"""C level of the dispatch kernel, for kernels that run without the GIL."""

cdef enum DispatchStatus:
    DISPATCH_INVALID = -1      # a NaN, an inverted bound, a negative participation
    DISPATCH_EXACT = 0         # the sum is met
    DISPATCH_AT_LOWER = 1      # the demand lies below what the box allows: x is its lower corner
    DISPATCH_AT_UPPER = 2      # the demand lies above what the box allows: x is its upper corner

cdef struct DispatchResult:
    double price               # dual variable of the sum; hand it to the next call as its warm start
    double achieved            # sum of x
    double residual            # demand - achieved
    int status                 # a DispatchStatus
    int passes                 # passes over the assets

cdef DispatchResult dispatch_solve(const double* x0, const double* g, const double* lower, const double* upper,
                                   double* x, Py_ssize_t n, double demand, double warm) noexcept nogil

cdef struct BatteryLimits:
    double power_min           # hard lower bound, W (charging is negative)
    double power_max           # hard upper bound, W
    double lower               # after energy and ramp, W
    double upper

cdef BatteryLimits battery_limits(double charge_max, double discharge_max, double previous, double ramp_per_s,
                                  double dt_s, double soc, double soc_min, double soc_max, double energy,
                                  double horizon_s) noexcept nogil
cdef double battery_participation(bint discharging, double rated, double soc, double soc_min,
                                  double soc_max, double floor) noexcept nogil
