"""The plant of the microgrid: the kernel against its twin, and against what swing, droop and balance are on paper."""

import math

import numpy as np
import pytest
from scipy.linalg import expm

from gwanje.ext import microgrid_plant as at
from gwanje.ext.microgrid_plant import MicrogridPlant
from gwanje.ext.radial import NetworkError
from gwanje.ext.reference import microgrid_plant as twin

HZ, BASE_W = 60.0, 1e6
ESS = {
    at.UP_KIND: at.ESS, at.UP_BUS: 3, at.UP_RATED_VA: 1e6, at.UP_P_MAX: 1e6, at.UP_TAU_S: 0.05, at.UP_TAU_FORM_S: 0.05,
    at.UP_RAMP: 4e6, at.UP_DROOP: 0.01, at.UP_INERTIA_S: 0.5, at.UP_CAN_FORM: 1, at.UP_CURRENT_MAX: 1.2,
    at.UP_PLL_S: 0.03, at.UP_CAPACITY_AH: 2500, at.UP_R_OHM: 0.01, at.UP_LOSS_FIXED_W: 500, at.UP_LOSS_SHARE: 0.02,
    at.UP_SOC_LOW: 0.05, at.UP_SOC_HIGH: 0.95, at.UP_SOC_BAND: 0.03, at.UP_HEAT_WH_PER_K: 2500, at.UP_UA_W_PER_K: 1500,
    at.UP_DERATE_C: 45, at.UP_STOP_C: 55, at.UP_V_LOW: 0.4, at.UP_V_LOW_S: 0.5, at.UP_V_HIGH: 1.3, at.UP_V_HIGH_S: 0.2,
    at.UP_HZ_LOW: 50, at.UP_HZ_HIGH: 66, at.UP_HZ_S: 1.0, at.UP_RECONNECT_S: 2.0, at.UP_AUTO_FORM_S: 0.02,
    at.UP_VV_DEADBAND: 0.02, at.UP_VV_SLOPE: 5, at.UP_QV_DROOP: 0.02,
}  # fmt: skip
GENSET = {
    **ESS, at.UP_KIND: at.GENSET, at.UP_BUS: 4, at.UP_RATED_VA: 8e5, at.UP_P_MAX: 6.4e5, at.UP_P_MIN: 1e5,
    at.UP_TAU_FORM_S: 0.25, at.UP_DROOP: 0.04, at.UP_INERTIA_S: 1.0, at.UP_START_S: 0.3, at.UP_SYNC_S: 0.1,
    at.UP_FUEL_L_PER_H: 16, at.UP_FUEL_L_PER_WH: 0.25e-3, at.UP_HEAT_SHARE: 1.1, at.UP_HEAT_TAU_S: 5,
}  # fmt: skip
PV = {
    **ESS, at.UP_KIND: at.SOURCE, at.UP_BUS: 5, at.UP_RATED_VA: 3e5, at.UP_P_MAX: 3e5, at.UP_RAMP: 3e5,
    at.UP_CAN_FORM: 0, at.UP_FW_DEADBAND_HZ: 0.036, at.UP_FW_DROOP: 0.05, at.UP_RECONNECT_S: 0.5,
}  # fmt: skip
LOAD = {at.LP_P: 1.0, at.LP_INRUSH: 6, at.LP_INRUSH_S: 0.3, at.LP_COLD_OFF_S: 1, at.LP_COLD_ON_S: 1, at.LP_MOVE_S: 0.02}
SITE = {
    at.K_BASE_W: BASE_W, at.K_HZ: HZ, at.K_VOLTAGE_V: 22_900, at.K_CLOSE_S: 0.06, at.K_OPEN_S: 0.04, at.K_ORDER_S: 2.0,
    at.K_SYNC_CHECK: 1, at.K_SYNC_HZ: 0.1, at.K_SYNC_V: 0.03, at.K_SYNC_RAD: 0.1745, at.K_SYNC_SHARE: 0.8,
    at.K_DEAD_BUS: 1, at.K_LOSS_OF_MAINS_S: 0.1, at.K_STUB_W: 1e5, at.K_STUB_TAN: 0.3, at.K_V_TAU_S: 0.03,
    at.K_V_RAMP: 25, at.K_V_RAMP_BLACK: 2, at.K_BLACK_S: 1.0, at.K_METER_TAU_S: 0.02, at.K_GRID_HZ_RAMP: 2,
    at.K_SHOCK_RAD: 0.8,
}  # fmt: skip
OCV = np.linspace(650, 780, 11)
RELAYS = [(27, 0.5, 0.16), (27, 0.88, 2.0), (59, 1.1, 1.0), (at.R_81U, 59.3, 0.16), (at.R_81O, 60.5, 0.16)]


def row(columns, n):
    values = np.zeros(n)
    for column, value in columns.items():
        values[column] = value
    return values


class Case:
    """A plant of a few buses; every unit and load gets all the orders there are for it."""

    def __init__(self, units, loads, kind=MicrogridPlant, z=0.0, relays=RELAYS, noise=0.0, seed=1):
        parent = np.array([-1, 0, 1, 2, 3, 3, 2, 6])
        self.slots = [(0.0, 1.0), (0.0, 0.0)]
        site = row(SITE | {at.K_SLOT_CLOSE: 0, at.K_SLOT_RESET: 1}, at.K_COUNT)
        unit_rows, load_rows = [], []
        self.unit_slot, self.load_slot = [], []
        for one in units:
            values = row(one, at.UP_COUNT)
            first = len(self.slots)
            values[at.UP_SLOT_P : at.UP_COUNT] = np.arange(first, first + at.UP_COUNT - at.UP_SLOT_P)
            falls_back = [0.0, np.nan, 0.0, HZ, 1.0, 0.0, np.nan]
            self.slots += [(0.0 if k in (2, 5) else 5.0, value) for k, value in enumerate(falls_back)]
            self.unit_slot.append(first)
            unit_rows.append(values)
        for one in loads:
            values = row(LOAD | one, at.LP_COUNT)
            first = len(self.slots)
            values[at.LP_SLOT_CLOSE : at.LP_COUNT] = np.arange(first, first + 3)
            self.slots += [(0.0, 1.0), (5.0, np.nan), (5.0, 1.0)]
            self.load_slot.append(first)
            load_rows.append(values)
        places = [(4 + (k + share) % 4, k, 0.5) for k in range(len(loads)) for share in range(2)]
        shown = [at.S_HZ, at.S_IMPORT_W, at.S_METER_HZ, at.S_ANGLE_SEEN, at.S_COUNT + at.U_P_W]
        self.plant = kind(
            parent, z * np.array([0, 0.05, 0, 0.02, 0.03, 0.01, 0.02, 0.04]),
            z * np.array([0, 0.2, 0, 0.03, 0.05, 0.02, 0.02, 0.03]), site=site, unit_params=unit_rows,
            ocv=np.tile(OCV, (len(units), 1)), load_params=load_rows, places=places, relays=relays, slots=self.slots,
            instruments=[(source, 0.02 if k else 0.05, noise) for k, source in enumerate(shown)], seed=seed,
        )  # fmt: skip
        for k in range(len(units)):
            self.plant.unit[k, at.U_FUEL_L] = 1000.0

    def tell(self, told):
        values = np.full(len(self.slots), np.nan)
        for slot, value in told.items():
            values[slot] = value
        self.plant.command(values)

    def island(self, seconds=3.0):
        """Open the breaker and wait until it has settled."""
        self.tell({0: 0.0})
        self.plant.advance(round(1000 * seconds))
        assert self.plant.system[at.S_MODE] == at.ISLANDED

    def order(self, unit, column):
        return self.unit_slot[unit] + column - at.UP_SLOT_P


def test_step_of_an_island_is_the_linear_solution():
    """One unit, a load of constant power: swing and first-order droop have a closed solution."""
    case = Case([ESS], [{}])
    case.island()
    plant = case.plant
    start_hz = plant.system[at.S_HZ]
    plant.load[0, at.L_EXTRA_W] = 2e5
    matrix = np.array([[-1 / 0.05, -1 / (0.05 * 0.01 * HZ)], [HZ / (2 * 0.5), 0.0]])  # of pm − its start, f − its start
    one = expm(matrix * 0.001)
    state, forced = np.zeros(2), np.linalg.solve(matrix, (one - np.eye(2)) @ np.array([0.0, -0.2 * HZ / (2 * 0.5)]))
    worst = 0.0
    for _ in range(600):
        plant.advance(1)
        state = one @ state + forced
        worst = max(worst, abs(plant.system[at.S_HZ] - start_hz - state[1]))
    assert worst < 0.003, "a hundredth of the swing"
    assert plant.system[at.S_HZ] - start_hz == pytest.approx(-0.2 * 0.01 * HZ, abs=2e-3)


@pytest.mark.parametrize(
    ("share", "inertia_s", "ki_per_s", "nadir_hz", "rocof", "settles_s"),
    [(0.2, 0.5, 1.0, -0.29, 12.0, 0.93), (0.2, 0.5, 2.0, -0.29, 12.0, 0.46), (0.5, 0.5, 1.0, -0.75, 30.0, 1.7),
     (0.5, 2.0, 1.0, -0.42, 7.5, 1.7)],
)  # fmt: skip
def test_nadir_rocof_and_settling_with_restoration(share, inertia_s, ki_per_s, nadir_hz, rocof, settles_s):
    """One machine: droop 1 %, power loop 50 ms, restoration each 100 ms with a delay of 100 ms, filter 20 ms."""
    case = Case([ESS | {at.UP_INERTIA_S: inertia_s}], [{}])
    case.island()
    plant, system = case.plant, case.plant.system
    plant.load[0, at.L_EXTRA_W] = share * 1e6
    start_hz, u, seen, outside = system[at.S_HZ], 0.0, [system[at.S_HZ]] * 2, 0
    for step in range(4000):
        plant.advance(1)
        if step == 0:
            assert system[at.S_ROCOF] == pytest.approx(-rocof, rel=1e-3)
        if step % 100 == 99:
            seen.append(system[at.S_METER_HZ])
            u += ki_per_s * 0.1 * (start_hz - seen[-2]) / (0.01 * HZ) * 1e6
            case.tell({case.order(0, at.UP_SLOT_P): u})
        if abs(system[at.S_HZ] - start_hz) > 0.05:
            outside = step + 1
    assert system[at.S_HZ_MIN] - start_hz == pytest.approx(nadir_hz, rel=0.04)
    assert outside / 1000 == pytest.approx(settles_s, abs=0.06)


def test_units_share_by_droop():
    """In the end every unit has moved by its rating over its droop, times what the frequency moved."""
    case = Case([ESS, ESS | {at.UP_RATED_VA: 5e5, at.UP_P_MAX: 5e5, at.UP_DROOP: 0.02, at.UP_BUS: 6}, GENSET], [{}, {}])
    case.tell({case.order(2, at.UP_SLOT_START): 1.0})
    case.island(8.0)
    plant = case.plant
    before, hz = plant.unit[:, at.U_P_W].copy(), plant.system[at.S_HZ]
    plant.load[0, at.L_EXTRA_W] = 3e5
    plant.advance(4000)
    moved, fell = plant.unit[:, at.U_P_W] - before, hz - plant.system[at.S_HZ]
    expected = np.array([1e6 / 0.01, 5e5 / 0.02, 8e5 / 0.04]) * fell / HZ
    assert moved == pytest.approx(expected, rel=1e-3)
    assert moved.sum() == pytest.approx(3e5, rel=1e-6)


def test_a_lost_grid_is_carried_by_a_unit_that_forms():
    case = Case([ESS], [{}])
    case.tell({case.order(0, at.UP_SLOT_FORM): 1.0})
    case.plant.load[0, at.L_DEMAND_W] = 3e5
    case.plant.advance(500)
    case.plant.system[at.S_GRID_ALIVE] = 0.0
    case.plant.advance(1)
    assert case.plant.system[at.S_IMPORT_W] == pytest.approx(-1e5, rel=1e-3), "with the lost piece"
    case.plant.advance(99)
    assert case.plant.system[at.S_CLOSED] == 0.0
    assert case.plant.system[at.S_TRIP_KIND] == at.R_LOSS_OF_MAINS
    case.plant.advance(3000)
    assert case.plant.system[at.S_COLLAPSES] == 0.0
    assert case.plant.unit[0, at.U_P_W] == pytest.approx(3e5, rel=1e-6)


@pytest.mark.parametrize(
    ("column", "value", "trips_s"),
    [(at.S_GRID_V_TARGET, 0.4, 0.16), (at.S_GRID_V_TARGET, 0.8, 2.0), (at.S_GRID_V_TARGET, 1.15, 1.0),
     (at.S_GRID_HZ_TARGET, 58.9, 0.16), (at.S_GRID_HZ_TARGET, 61.0, 0.16), (at.S_GRID_V_TARGET, 0.95, None)],
)  # fmt: skip
def test_relays_trip_after_their_time(column, value, trips_s):
    case = Case([ESS], [{}])
    system = case.plant.system
    system[at.S_GRID_HZ if column == at.S_GRID_HZ_TARGET else at.S_GRID_V] = system[column] = value
    case.plant.advance(200)
    system[at.S_METER_HZ] = system[at.S_GRID_HZ]
    took = 200
    while system[at.S_CLOSED] > 0.5 and took < 3000:
        case.plant.advance(1)
        took += 1
    if trips_s is None:
        assert took == 3000
        return
    assert system[at.S_TRIPPED] == 1.0
    case.tell({0: 1.0})
    case.plant.advance(500)
    assert system[at.S_CLOSED] == 0.0, "a trip holds until it is reset"
    assert took / 1000 <= max(trips_s, 0.2) + 0.06


def close_from(slip_hz, angle, check):
    """A breaker told to close at an angle, while the island drifts; what the closure looked like."""
    case = Case([ESS], [{}])
    case.island()
    system = case.plant.system
    case.tell({case.order(0, at.UP_SLOT_HZ): HZ + slip_hz, case.order(0, at.UP_SLOT_V): 1.0})
    case.plant.advance(1500)
    system[at.S_ANGLE] = angle
    k = np.array(case.plant.system)
    assert k[at.S_MODE] == at.ISLANDED
    case.tell({0: 1.0, case.order(0, at.UP_SLOT_HZ): HZ + slip_hz})
    case.plant.advance(4000)
    return system


@pytest.mark.parametrize("angle", np.linspace(-3.0, 3.0, 9))
@pytest.mark.parametrize("slip_hz", [-0.3, -0.06, 0.05, 0.07, 0.2])
def test_sync_check_closes_inside_the_window_alone(slip_hz, angle):
    system = close_from(slip_hz, angle, True)
    assert system[at.S_CLOSURES_OUT] == 0.0
    if abs(slip_hz) > 0.08:
        assert system[at.S_CLOSURES] == 0.0
    elif system[at.S_CLOSURES]:
        assert abs(system[at.S_CLOSE_ANGLE]) <= 0.1745


def test_a_dead_bus_is_energised_softly():
    case = Case([ESS | {at.UP_AUTO_FORM_S: 0.0}], [{at.LP_MOTOR_W: 5e4, at.LP_COLD_EXTRA: 0.5}])
    plant = case.plant
    plant.load[0, at.L_DEMAND_W] = 2e5
    plant.system[at.S_GRID_ALIVE] = 0.0
    plant.advance(5000)
    assert plant.system[at.S_MODE] == at.DEAD
    assert plant.load[0, at.L_UNSERVED_WH] == pytest.approx(2e5 * 5 / 3600, rel=1e-3)
    case.tell({case.order(0, at.UP_SLOT_FORM): 1.0})
    plant.advance(50)
    assert plant.system[at.S_V] < 0.3
    plant.advance(2000)
    assert plant.system[at.S_V] == pytest.approx(1.0, abs=0.01)
    assert plant.load[0, at.L_LOAD_W] > 2.05e5, "cold load"
    assert plant.system[at.S_UNIT_TRIPS] == 0.0


def test_motors_draw_six_times_their_current_at_first():
    case = Case([ESS], [{at.LP_MOTOR_W: 1e5}])
    plant, slot = case.plant, case.load_slot[0]
    plant.load[0, at.L_DEMAND_W] = 1e5
    plant.advance(100)
    case.tell({slot: 0.0})
    plant.advance(19)
    assert plant.load[0, at.L_CLOSED] == 1.0
    plant.advance(1)
    assert plant.load[0, at.L_CLOSED] == 0.0, "20 ms"
    plant.advance(3000)
    case.tell({slot: 1.0})
    plant.advance(21)
    assert math.hypot(plant.load[0, at.L_LOAD_W], plant.load[0, at.L_LOAD_VAR]) > 5e5
    plant.advance(3000)
    assert plant.load[0, at.L_LOAD_W] == pytest.approx(1e5, rel=1e-3)


def test_devices_forget_after_five_seconds():
    case = Case([ESS, PV], [{at.LP_FLEXIBLE_W: 1e9}])
    plant = case.plant
    plant.load[0, at.L_DEMAND_W], plant.unit[1, at.U_AVAILABLE_W] = 1e5, 2e5
    orders = {case.order(0, at.UP_SLOT_P): 2e5, case.order(1, at.UP_SLOT_LIMIT): 5e4, case.load_slot[0] + 1: 2e4}
    case.tell(orders)
    plant.advance(2000)
    assert plant.unit[:2, at.U_P_W] == pytest.approx([2e5, 5e4], rel=1e-6)
    assert plant.load[0, at.L_LOAD_W] == pytest.approx(2e4, rel=1e-6)
    plant.advance(6000)
    assert plant.unit[:2, at.U_P_W] == pytest.approx([0.0, 2e5], abs=1.0)
    assert plant.load[0, at.L_LOAD_W] == pytest.approx(1e5, rel=1e-6)
    assert plant.unit[1, at.U_CURTAILED_WH] > 0.0


def test_overload_lets_the_voltage_go_and_trips():
    case = Case([ESS], [{at.LP_P: 0.0, at.LP_Z: 1.0}])
    plant = case.plant
    plant.load[0, at.L_DEMAND_W] = 9e5
    case.island(0.5)
    plant.load[0, at.L_EXTRA_W] = 3e6
    plant.advance(200)
    current = math.hypot(plant.unit[0, at.U_P_W], plant.unit[0, at.U_Q_VAR]) / plant.system[at.S_V]
    assert current < 1.3e6
    plant.advance(3000)
    assert plant.system[at.S_UNIT_TRIPS] >= 1.0


def excited(kind, steps, seed, z=1.0):
    """A run in which everything happens: orders, steps of load, loss of the grid, reclosing, clouds."""
    case = Case(
        [ESS, GENSET, PV], [{at.LP_MOTOR_W: 4e4, at.LP_COLD_EXTRA: 0.3}, {at.LP_P: 0.3, at.LP_Z: 0.4, at.LP_I: 0.3,
         at.LP_TAN_PHI: 0.3, at.LP_HZ_SHARE: 0.015, at.LP_RAMP: 2e5, at.LP_FLEXIBLE_W: 1e5}], kind, z=z, noise=0.01,
    )  # fmt: skip
    rng = np.random.default_rng(seed)
    plant, trace = case.plant, []
    plant.load[:, at.L_DEMAND_W] = 2e5, 3e5
    plant.unit[2, at.U_AVAILABLE_W] = 1.5e5
    case.tell({case.order(1, at.UP_SLOT_START): 1.0})
    for _ in range(steps):
        orders = {}
        if rng.uniform() < 0.3:
            slot = int(rng.integers(0, len(case.slots)))
            scale = {at.UP_SLOT_HZ - at.UP_SLOT_P: HZ, at.UP_SLOT_V - at.UP_SLOT_P: 1.0}
            inside = [(slot - first) for first in case.unit_slot if 0 <= slot - first < 7]
            orders[slot] = float(rng.integers(0, 2)) if not inside else (
                scale[inside[0]] * rng.uniform(0.995, 1.005) if inside[0] in scale
                else float(rng.integers(0, 2)) if inside[0] in (2, 5) else rng.uniform(-4e5, 4e5)
            )  # fmt: skip
        case.tell(orders)
        match int(rng.integers(0, 40)):
            case 0:
                plant.load[0, at.L_EXTRA_W] = rng.uniform(0, 3e5)
            case 1:
                plant.system[at.S_GRID_ALIVE] = float(rng.integers(0, 2))
            case 2:
                plant.unit[2, at.U_AVAILABLE_SLOPE] = rng.uniform(-40, 40)
            case 3:
                plant.system[at.S_GRID_V_TARGET] = rng.uniform(0.85, 1.1)
            case 4:
                plant.system[at.S_GRID_ALIVE] = plant.system[at.S_GRID_V_TARGET] = 1.0
                case.tell({1: 1.0, 0: 1.0})
            case 5:
                plant.load[1, at.L_KICK_VA] += 3e5
            case 6:
                plant.trip_unit(int(rng.integers(0, 3)))
        plant.advance(int(rng.integers(1, 60)))
        trace.append(np.concatenate([plant.memory, plant.shown, plant.v.ravel(), plant.order]))
    return np.array(trace)


@pytest.mark.parametrize("seed", range(3))
def test_twin(seed):
    """The same run in both, state by state."""
    ours, theirs = excited(MicrogridPlant, 45, seed), excited(twin.MicrogridPlant, 45, seed)
    modes = set(ours[:, at.S_MODE].tolist())
    assert np.isnan(ours).tolist() == np.isnan(theirs).tolist()
    assert np.nan_to_num(ours) == pytest.approx(np.nan_to_num(theirs), rel=1e-9, abs=1e-6)
    assert at.CONNECTED in modes


def balance_gap_wh(memory, n_units, n_loads):
    unit = memory[at.S_COUNT : at.S_COUNT + n_units * at.U_COUNT].reshape(n_units, at.U_COUNT)
    load = memory[at.S_COUNT + n_units * at.U_COUNT :][: n_loads * at.L_COUNT].reshape(n_loads, at.L_COUNT)
    into = memory[at.S_IMPORT_WH] - memory[at.S_EXPORT_WH] + (unit[:, at.U_OUT_WH] - unit[:, at.U_IN_WH]).sum()
    return into - load[:, at.L_SERVED_WH].sum() - memory[at.S_LOSS_WH]


@pytest.mark.parametrize("seed", range(12))
def test_energy_closes_whatever_happens(seed):
    trace = excited(MicrogridPlant, 400, 100 + seed)
    memory = trace[-1]
    assert np.isfinite(memory[: at.S_ANGLE_SEEN]).all()
    assert abs(balance_gap_wh(memory, 3, 2)) < 1e-3
    assert memory[at.S_UNSOLVED] < 0.1 * 400 * 30, "a weak grid under inrush may have no solution for a moment"
    assert memory[at.S_CLOSURES_OUT] == 0.0
    soc = trace[:, at.S_COUNT + at.U_SOC]
    assert ((soc >= 0.0) & (soc <= 1.0)).all()


def test_same_seed_same_bits():
    assert excited(MicrogridPlant, 150, 7).tobytes() == excited(MicrogridPlant, 150, 7).tobytes()


def test_instruments_lie_apart():
    """Each has its own noise and its own turn; a dead one shows nothing."""
    case = Case([ESS], [{}], noise=0.01)
    seen = []
    for _ in range(400):
        case.plant.advance(20)
        seen.append(case.plant.shown[[0, 2]])
    noise = np.array(seen)[5:] - HZ
    assert noise[:, 1].std() == pytest.approx(0.01, rel=0.15)
    assert abs(np.corrcoef(noise.T)[0, 1]) < 0.15
    case.plant.bias[2] = np.nan
    case.plant.advance(20)
    assert np.isnan(case.plant.shown[2])


@pytest.mark.parametrize(
    ("change", "error"),
    [({"parent": [-1, 0, 0]}, NetworkError), ({"places": [(1, 0, 1.0)]}, ValueError), ({"site": [1.0]}, ValueError),
     ({"instruments": [(10**6, 0.02, 0.0)]}, ValueError), ({"slots": []}, ValueError)],
)  # fmt: skip
def test_tables_that_do_not_fit(change, error):
    fits = {
        "parent": [-1, 0, 1, 2], "site": row(SITE, at.K_COUNT), "unit_params": [row(ESS, at.UP_COUNT)],
        "ocv": [OCV], "load_params": [row(LOAD, at.LP_COUNT)], "places": [(3, 0, 1.0)], "relays": np.zeros((0, 3)),
        "slots": [(0.0, 0.0)], "instruments": [(0, 0.02, 0.0)],
    } | change  # fmt: skip
    parent = fits.pop("parent")
    with pytest.raises(error):
        MicrogridPlant(parent, np.zeros(len(parent)), np.zeros(len(parent)), **fits)


@pytest.mark.parametrize("kind", [MicrogridPlant, twin.MicrogridPlant])
def test_a_saved_plant_goes_on_bit_by_bit(kind):
    """Also in the middle of everything: an island in swing, orders to be forgotten, relays that have picked up."""

    def begun():
        case = Case([ESS, GENSET, PV], [{}, {}], kind=kind, noise=0.01, z=1.0)
        case.plant.unit[2, at.U_AVAILABLE_W] = 1e5
        case.tell({case.order(0, at.UP_SLOT_P): 2e5, case.order(1, at.UP_SLOT_START): 1.0})
        return case

    def bits(plant):
        return plant.save().tobytes()

    case = begun()
    case.plant.advance(300)
    case.plant.load[0, at.L_EXTRA_W] = 3e5
    case.plant.system[at.S_GRID_ALIVE] = 0.0
    case.plant.advance(137)
    again = begun()
    again.plant.restore(case.plant.save())
    assert bits(again.plant) == bits(case.plant)
    for one in (case, again):
        one.plant.advance(263)
        one.tell({one.order(0, at.UP_SLOT_P): 1e5})
        one.plant.advance(200)
    assert bits(again.plant) == bits(case.plant)
    with pytest.raises(ValueError, match="not the state"):
        again.plant.restore(case.plant.save()[:-1])


@pytest.mark.parametrize("kind", [MicrogridPlant, twin.MicrogridPlant])
def test_in_a_hurry_energies_move_and_devices_do_not(kind):
    slow, fast = Case([ESS], [{}], kind=kind), Case([ESS], [{}], kind=kind)
    fast.plant.hurry(100.0)
    for case in (slow, fast):
        case.plant.unit[0, at.U_SOC] = 0.6
        case.tell({case.order(0, at.UP_SLOT_P): 2e5})
        case.plant.advance(200)
    assert fast.plant.unit[0, at.U_P_W] == slow.plant.unit[0, at.U_P_W]
    used = [0.6 - case.plant.unit[0, at.U_SOC] for case in (slow, fast)]
    assert used[1] == pytest.approx(100.0 * used[0], rel=1e-3)
    assert fast.plant.system[at.S_IMPORT_WH] == pytest.approx(100.0 * slow.plant.system[at.S_IMPORT_WH])
