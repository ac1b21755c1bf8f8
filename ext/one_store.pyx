"""One store at one bus, planned exactly: what a stored Wh is worth, hour by hour backwards, and what to do now.

The cost of a step is convex and piecewise linear in what the store gives or takes: the cheapest sources serve the load
first. So is the least cost of all later steps as a function of the stored energy. Going back one step is the infimal
convolution of the two, and that is no more than merging their pieces by slope: exact, without a solver, in
microseconds for a day. Prices of sources must not be negative; then charging and discharging at once never pays.

Source: R. T. Rockafellar, "Convex Analysis" (1970), section 5 and theorem 16.4 (infimal convolution); for storage,
the slope is what hydro scheduling calls the water value.

Energies are inside the store for its own limits, at the bus for loads and sources; money is the caller's. The buffers
are made once; ``plan`` and ``decide`` allocate nothing and hold no lock.
"""

from libc.math cimport INFINITY, fabs, fmax, fmin, isfinite
from libc.stdlib cimport free, malloc


cdef class OneStore:
    """A store and the value of what is in it.

    Args:
        energy_wh: between its lowest and highest allowed state.
        charge_wh_max: most that one step may add inside.
        discharge_wh_max: most that one step may take from inside.
        charge_efficiency: energy inside per energy taken from the bus, above 0, at most 1.
        discharge_efficiency: energy given to the bus per energy from inside, above 0, at most 1.
        wear_per_wh: price of each Wh moved inside, either way.
        surplus_per_wh: price of what is generated and can go nowhere.
        steps_max: most steps of one plan.
        sources_max: most sources of one step.
        levels_max: most slices of the worth of what is left at the end.
    Raises:
        ValueError: an efficiency out of range, or a limit that is negative or not finite.
    """

    cdef double energy_wh, charge_wh_max, discharge_wh_max, charge_efficiency, discharge_efficiency
    cdef double wear_per_wh, surplus_per_wh
    cdef int steps_max, sources_max, levels_max, room, n_pieces, n_moves
    cdef double* slope
    cdef double* length
    cdef double* other_slope
    cdef double* other_length
    cdef double* move_slope
    cdef double* move_length
    cdef double* price
    cdef double* amount

    def __cinit__(self, double energy_wh, double charge_wh_max, double discharge_wh_max, double charge_efficiency,
                  double discharge_efficiency, double wear_per_wh, double surplus_per_wh, int steps_max=400,
                  int sources_max=8, int levels_max=64):
        limits = (energy_wh, charge_wh_max, discharge_wh_max, wear_per_wh, surplus_per_wh)
        if not all(isfinite(one) and one >= 0.0 for one in limits):
            raise ValueError("a limit or price of the store is negative or not finite")
        if not (0.0 < charge_efficiency <= 1.0 and 0.0 < discharge_efficiency <= 1.0):
            raise ValueError("an efficiency is above 0 and at most 1")
        if steps_max < 1 or sources_max < 1 or levels_max < 1:
            raise ValueError("a plan has a step, a source and a level")
        self.energy_wh, self.charge_wh_max, self.discharge_wh_max = energy_wh, charge_wh_max, discharge_wh_max
        self.charge_efficiency, self.discharge_efficiency = charge_efficiency, discharge_efficiency
        self.wear_per_wh, self.surplus_per_wh = wear_per_wh, surplus_per_wh
        self.steps_max, self.sources_max, self.levels_max = steps_max, sources_max, levels_max
        # A step has a piece for each source, one for surplus, and the load cuts one of them in two.
        self.room = levels_max + steps_max * (sources_max + 2)
        self.slope = <double*> malloc(4 * self.room * sizeof(double))
        self.move_slope = <double*> malloc(2 * (sources_max + 2) * sizeof(double))
        self.price = <double*> malloc(2 * sources_max * sizeof(double))
        if not self.slope or not self.move_slope or not self.price:
            raise MemoryError
        self.length = self.slope + self.room
        self.other_slope = self.length + self.room
        self.other_length = self.other_slope + self.room
        self.move_length = self.move_slope + sources_max + 2
        self.amount = self.price + sources_max
        self.n_pieces = 1
        self.slope[0] = 0.0
        self.length[0] = energy_wh

    def __dealloc__(self):
        # ``plan`` swaps the two halves: the block begins where the lower of them does.
        if self.slope and self.other_slope and self.other_slope < self.slope:
            free(self.other_slope)
        else:
            free(self.slope)
        free(self.move_slope)
        free(self.price)

    @property
    def value(self):
        """Slope (worth of a Wh, negated) and length of each piece, from empty to full."""
        return [(self.slope[one], self.length[one]) for one in range(self.n_pieces)]

    def plan(self, const double[::1] load_wh, const double[::1] floor_wh, const double[:, ::1] price,
             const double[:, ::1] amount_wh, const double[::1] end_per_wh):
        """Value of the stored energy before the first of these steps.

        Args:
            load_wh: (n_steps,) IN wanted at the bus.
            floor_wh: (n_steps,) IN what the sources give at the least; negative is export, which is then a source too.
            price: (n_steps, n_sources) IN of each source, not negative.
            amount_wh: (n_steps, n_sources) IN most that it gives; the dearest is the load not served, infinite.
            end_per_wh: (n_levels,) IN worth of a Wh that is left after the last step, in equal slices from empty to
                full; never rising: the first Wh in a store is worth the most.
        Raises:
            ValueError: shapes that do not fit, more steps or sources than there is room for, a negative or missing
                number, no source without a limit, or a rising worth.
        """
        cdef int n = <int> load_wh.shape[0], n_sources = <int> price.shape[1], levels = <int> end_per_wh.shape[0]
        cdef int step = 0, level
        cdef bint valid = True
        if floor_wh.shape[0] != n or price.shape[0] != n or amount_wh.shape[0] != n or amount_wh.shape[1] != n_sources:
            raise ValueError("shapes that do not fit")
        if n > self.steps_max or n_sources > self.sources_max:
            raise ValueError(f"room for {self.steps_max} steps of {self.sources_max} sources")
        if not 1 <= levels <= self.levels_max:
            raise ValueError(f"the worth at the end is in 1 to {self.levels_max} slices")
        for level in range(levels):
            if not isfinite(end_per_wh[level]) or (level > 0 and end_per_wh[level] > end_per_wh[level - 1]):
                raise ValueError(f"level {level}: the worth at the end is missing or rises")
        with nogil:
            self.n_pieces = levels
            for level in range(levels):
                self.slope[level] = -end_per_wh[level]
                self.length[level] = self.energy_wh / levels
            for step in range(n - 1, -1, -1):
                if not self.sort_sources(price, amount_wh, step, n_sources) or not isfinite(load_wh[step]):
                    valid = False
                    break
                self.moves(load_wh[step], floor_wh[step], n_sources)
                self.merge()
        if not valid:
            raise ValueError(f"step {step}: a number is missing or negative, or no source is without a limit")

    def worth(self, double[::1] per_wh):
        """What a Wh is worth before the steps of the last plan.

        Args:
            per_wh: (n_levels,) OUT mean of each equal slice from empty to full; fits ``end_per_wh`` of a plan.
        """
        cdef int levels = <int> per_wh.shape[0], level, i = 0
        cdef double left, part, wide, sum_
        if levels < 1:
            raise ValueError("no levels")
        with nogil:
            wide = self.energy_wh / levels
            left = self.length[0]
            for level in range(levels):
                part, sum_ = wide, 0.0
                while part > 0.0:
                    if left <= 0.0 and i + 1 < self.n_pieces:
                        i += 1
                        left = self.length[i]
                        continue
                    # The last piece ends where the store does, but for rounding.
                    if i + 1 >= self.n_pieces or left > part:
                        sum_ += self.slope[i] * part
                        left -= part
                        part = 0.0
                    else:
                        sum_ += self.slope[i] * left
                        part -= left
                        left = 0.0
                per_wh[level] = -sum_ / wide if wide > 0.0 else 0.0

    def decide(self, double stored_wh, double load_wh, double floor_wh, const double[:, ::1] price,
               const double[:, ::1] amount_wh):
        """What to do in the step before those of the last plan.

        Args:
            stored_wh: inside, above the lowest allowed state; clipped to what the store can hold.
            load_wh, floor_wh: of this step, as in :meth:`plan`; here a floor above the load is allowed.
            price: (1, n_sources) IN.
            amount_wh: (1, n_sources) IN.
        Returns:
            Change of the stored energy in Wh (the smallest of equals) and cost of this and all later steps, less
            what an empty store would cost later and what the floor itself costs.
        Raises:
            ValueError: as :meth:`plan`.
        """
        cdef double change = 0.0, cost
        cdef int n_sources = <int> price.shape[1]
        if price.shape[0] != 1 or amount_wh.shape[0] != 1 or amount_wh.shape[1] != n_sources:
            raise ValueError("shapes that do not fit")
        if n_sources > self.sources_max:
            raise ValueError(f"room for {self.sources_max} sources")
        if not isfinite(stored_wh) or not isfinite(load_wh) or not isfinite(floor_wh):
            raise ValueError("a number is missing")
        if not self.sort_sources(price, amount_wh, 0, n_sources):
            raise ValueError("a number is missing or negative, or no source is without a limit")
        with nogil:
            cost = self.best(fmin(fmax(stored_wh, 0.0), self.energy_wh), load_wh, floor_wh, n_sources, &change)
        return change, cost

    cdef bint sort_sources(self, const double[:, ::1] price, const double[:, ::1] amount, int step,
                           int n) noexcept nogil:
        """Into ``self.price`` and ``self.amount``, cheapest first; false when they make no step."""
        cdef int i, j
        cdef double each, most
        for i in range(n):
            each, most = price[step, i], amount[step, i]
            if not (each >= 0.0 and isfinite(each) and most >= 0.0):
                return False
            j = i
            while j > 0 and self.price[j - 1] > each:
                self.price[j], self.amount[j] = self.price[j - 1], self.amount[j - 1]
                j -= 1
            self.price[j], self.amount[j] = each, most
        return n > 0 and self.amount[n - 1] == INFINITY

    cdef void moves(self, double load, double floor, int n_sources) noexcept nogil:
        """Slopes and lengths, ascending, of the step's cost over what leaves the store."""
        cdef double low = load - self.discharge_wh_max * self.discharge_efficiency
        cdef double high = load + self.charge_wh_max / self.charge_efficiency
        cdef double start, end, part, cost
        cdef int i, cheaper, n = 0, turn
        for turn in range(2):
            # First what charging costs, dearest first, then what discharging saves: ascending through both.
            for i in range(n_sources - 1, -2, -1):
                if i >= 0:
                    start = floor
                    for cheaper in range(i):
                        start += self.amount[cheaper]
                    end = start + self.amount[i]
                    cost = self.price[i]
                else:
                    start, end, cost = -INFINITY, floor, -self.surplus_per_wh
                if turn == 0:
                    part = fmin(end, high) - fmax(start, load)
                    if part > 0.0:
                        self.move_slope[n] = -(cost / self.charge_efficiency + self.wear_per_wh)
                        self.move_length[n] = part * self.charge_efficiency
                        n += 1
                else:
                    part = fmin(end, load) - fmax(start, low)
                    if part > 0.0:
                        self.move_slope[n] = -(cost * self.discharge_efficiency - self.wear_per_wh)
                        self.move_length[n] = part / self.discharge_efficiency
                        n += 1
        self.n_moves = n

    cdef void merge(self) noexcept nogil:
        """The value one step earlier: pieces of value and moves by slope, cut to what the store holds."""
        cdef double skipped = self.charge_wh_max, kept = self.energy_wh, slope, length, part
        cdef int i = 0, j = 0, n = 0
        while kept > 0.0 and (i < self.n_pieces or j < self.n_moves):
            if j >= self.n_moves or (i < self.n_pieces and self.slope[i] <= self.move_slope[j]):
                slope, length = self.slope[i], self.length[i]
                i += 1
            else:
                slope, length = self.move_slope[j], self.move_length[j]
                j += 1
            part = fmin(skipped, length)
            skipped -= part
            part = fmin(length - part, kept)
            kept -= part
            if part <= 0.0:
                continue
            if n > 0 and self.other_slope[n - 1] == slope:
                self.other_length[n - 1] += part
            else:
                self.other_slope[n], self.other_length[n] = slope, part
                n += 1
        self.slope, self.other_slope = self.other_slope, self.slope
        self.length, self.other_length = self.other_length, self.length
        self.n_pieces = n

    cdef double best(self, double stored, double load, double floor, int n_sources, double* change) noexcept nogil:
        """Least cost over the ends of all pieces: the cost is linear between them, whether it is convex or not."""
        cdef double low = -fmin(self.discharge_wh_max, stored)
        cdef double high = fmin(self.charge_wh_max, self.energy_wh - stored)
        cdef double cost = self.cost(stored, 0.0, load, floor, n_sources)
        cdef double end = floor, out
        cdef int i
        change[0] = 0.0
        self.try_change(stored, low, load, floor, n_sources, &cost, change)
        self.try_change(stored, high, load, floor, n_sources, &cost, change)
        for i in range(n_sources + 1):
            out = end - load
            out = out * self.charge_efficiency if out > 0.0 else out / self.discharge_efficiency
            if low <= out <= high:
                self.try_change(stored, out, load, floor, n_sources, &cost, change)
            if i < n_sources:
                end += self.amount[i]
        end = 0.0
        for i in range(self.n_pieces):
            end += self.length[i]
            if low <= end - stored <= high:
                self.try_change(stored, end - stored, load, floor, n_sources, &cost, change)
        return cost

    cdef void try_change(self, double stored, double change, double load, double floor, int n_sources, double* cost,
                         double* best) noexcept nogil:
        cdef double found = self.cost(stored, change, load, floor, n_sources)
        cdef double same = 1e-9 * fmax(1.0, fabs(cost[0]))
        if found < cost[0] - same or (found <= cost[0] + same and fabs(change) < fabs(best[0])):
            cost[0] = fmin(found, cost[0])
            best[0] = change

    cdef double cost(self, double stored, double change, double load, double floor, int n_sources) noexcept nogil:
        cdef double need, cost, taken, left = stored + change
        cdef int i
        need = load + (change / self.charge_efficiency if change > 0.0 else change * self.discharge_efficiency) - floor
        cost = self.wear_per_wh * fabs(change) + self.surplus_per_wh * fmax(0.0, -need)
        for i in range(n_sources):
            if need <= 0.0:
                break
            taken = fmin(need, self.amount[i])
            cost += self.price[i] * taken
            need -= taken
        for i in range(self.n_pieces):
            if left <= 0.0:
                break
            cost += self.slope[i] * fmin(self.length[i], left)
            left -= self.length[i]
        return cost
