"""C level of the sweeps over a radial network (radial_sweep.h), for kernels that run without the GIL."""

cdef extern from "radial_sweep.h":
    ctypedef struct GwNet:
        long n
        const int* parent
        const double* r
        const double* x
        const double* g
        const double* b
        const double* t
        long n_loops
        const int* la
        const int* lb
        const double* lr
        const double* lx
        const double* ar
        const double* ai
        double vsr, vsi, tolerance
        int sweeps_max
    int gw_solve(const GwNet*, const double*, const double*, double*, double*, double*, double*, double*, double*) noexcept nogil
    int gw_solve_foreseeing(
        const GwNet*, const double*, const double*, double*, double*, double*, double*, double*, double*
    ) noexcept nogil
    void gw_solve_lanes(
        const GwNet*, const double*, const double*, double*, double*, double*, double*, int*
    ) noexcept nogil
