"""From a site's settings to networks that the estimator takes: one for the city on the utility, one for its island.

A load hangs behind its switch on a bus of its own, so that a switch which says what is not so can be told from a meter
that does; so does each of several voltage meters on one bus. Such buses are named ``bus@load`` and have no tags.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from gwanje.control.microgrid.estimation.bad_data import BadDataParams
from gwanje.control.microgrid.estimation.estimator import (
    EstimationParams,
    EstimatorNetwork,
    Floats,
    Ints,
    Meter,
    MeterKind,
)
from gwanje.control.microgrid.estimation.settings import EstimationSettings, tags_of
from gwanje.core.tags.table import TagTable

NONE = -1
"""Channel of a row that no meter stands behind."""
QUANTITIES = {
    "voltage_v": MeterKind.VOLTAGE_V, "flow_w": MeterKind.FLOW_W, "flow_var": MeterKind.FLOW_VAR,
}  # fmt: skip
COLUMNS = ("sigma_share", "sigma_floor", "max_age_s", "delay_s", "typical", "typical_sigma", "low", "high")
AGAIN = (MeterKind.ARRIVING_W, MeterKind.FLOW_W)
"""A load's second and third meter: on its own bus behind its switch these are its power as well."""
FLOWS = (MeterKind.FLOW_W, MeterKind.FLOW_VAR)
FLOOR_VAR = 200.0
"""Sigma of a reactive power that follows an active one, when that is nothing."""


@dataclass(frozen=True, slots=True)
class Channel:
    """A metered quantity.

    Attributes:
        id: of the meter.
        tags: whose values are added.
        typical: what is taken without a reading; NaN: nothing.
        typical_sigma: its sigma.
        nominal_v: of a voltage; 0 for a power.
        low: the least it can be; beyond its tags' limits something is wrong with it.
        high: the most.
    """

    id: str
    tags: tuple[str, ...]
    sigma_share: float
    sigma_floor: float
    max_age_s: float
    delay_s: float
    typical: float = float("nan")
    typical_sigma: float = float("nan")
    nominal_v: float = 0.0
    low: float = float("-inf")
    high: float = float("inf")


@dataclass(frozen=True, slots=True)
class Row:
    """A reading of the network: ``factor`` times a channel's value, or a constant.

    Attributes:
        kind: what it says.
        bus: of which bus.
        channel: place among the channels, or :data:`NONE`.
        factor: positive in the direction of the estimator: power is drawn.
        factor_sigma: of the factor, where it is no more than usual (a power factor).
        sigma: of what no channel stands behind, and the least otherwise.
        follows: it is derived from a channel that measures something else.
        again: channels of further meters of the same, when the first says nothing.
    """

    kind: MeterKind
    bus: str
    channel: int = NONE
    factor: float = 1.0
    factor_sigma: float = 0.0
    sigma: float = 0.0
    follows: bool = False
    again: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Topology:
    """A network with a source.

    Attributes:
        params: for the estimator; its meters are the rows.
        rows: what is read.
        channel: (n_rows,) of the rows.
        factor: (n_rows,)
        factor_sigma: (n_rows,)
        sigma: (n_rows,)
        voltage_channels: of the voltage meters in it.
        switch_ids: what stands in the network's switches, in their order.
        switch_tags: their tags.
    """

    params: EstimationParams
    rows: tuple[Row, ...]
    channel: Ints
    factor: Floats
    factor_sigma: Floats
    sigma: Floats
    voltage_channels: tuple[int, ...]
    switch_ids: tuple[str, ...]
    switch_tags: tuple[str, ...]

    @property
    def buses(self) -> tuple[str, ...]:
        """Names of its buses."""
        return self.params.network.buses


@dataclass(frozen=True, slots=True)
class Model:
    """All that does not change from second to second.

    Attributes:
        settings: of the site.
        channels: what is metered.
        columns: their numbers by name, (n_channels,) each.
        connected: the whole.
        islanded: what is behind the source's breaker; None when the site has none.
        breaker: id and tag of that breaker.
        angle: tag of the angle across it; empty without one.
        outside: voltage channels on the utility's side of it.
        tie_flows: rows of the flow through it; none of it flows in an island.
        source: name of the source.
    """

    settings: EstimationSettings
    channels: tuple[Channel, ...]
    columns: Mapping[str, Floats]
    connected: Topology
    islanded: Topology | None
    breaker: tuple[str, str]
    angle: str
    outside: tuple[int, ...]
    tie_flows: tuple[Row, ...]
    source: str


@dataclass(frozen=True, slots=True)
class _Bus:
    name: str
    parent: str
    r: float
    x: float
    nominal_v: float
    switch: tuple[str, str] | None = None


def build(settings: EstimationSettings, tags: TagTable) -> Model:
    """The model of a site whose settings have been checked."""
    channels, rows = _channels_and_rows(settings, tags)
    buses = _buses(settings, rows)
    source = next(one.id for one in settings.bus if one.source)
    head = next((one for one in settings.breaker if one.at == source), None)
    inside = _below(buses, head.bus) if head is not None else set()
    island = None
    if head is not None:
        kept = [one for one in buses if one.name in inside]
        kept = [one if one.name != head.bus else _Bus(one.name, "", 0.0, 0.0, one.nominal_v) for one in kept]
        own = [one for one in rows if one.bus in inside and not (one.bus == head.bus and one.kind in FLOWS)]
        own += [Row(kind, head.bus) for kind in FLOWS]
        island = _topology(settings, channels, kept, own)
    whole = [one if head is None or one.name != head.bus else _closed(one) for one in buses]
    columns = {name: np.array([getattr(one, name) for one in channels]) for name in COLUMNS}
    return Model(
        settings, tuple(channels), columns, _topology(settings, channels, whole, rows), island,
        (head.id, head.tag) if head is not None else ("", ""), head.angle_tag if head is not None else "",
        tuple(one.channel for one in rows if one.kind is MeterKind.VOLTAGE_V and one.bus not in inside) if head else (),
        tuple(one for one in rows if head is not None and one.bus == head.bus and one.kind in FLOWS),
        source,
    )  # fmt: skip


def _closed(bus: _Bus) -> _Bus:
    """The source's breaker decides between the two networks; within one it is no switch."""
    return _Bus(bus.name, bus.parent, bus.r, bus.x, bus.nominal_v)


def _channels_and_rows(settings: EstimationSettings, tags: TagTable) -> tuple[list[Channel], list[Row]]:
    channels: list[Channel] = []
    rows: list[Row] = []

    def channel(one: Channel) -> int:
        found = [tags.get(name) for name in one.tags]
        low = 0.0 if one.nominal_v else sum(tag.low for tag in found)  # without supply there is no voltage
        channels.append(replace(one, low=low, high=sum(tag.high for tag in found)))
        return len(channels) - 1

    active, reactive = MeterKind.LOAD_W, MeterKind.LOAD_VAR
    for load in settings.load:
        at = channel(Channel(
            load.id, (load.tag,), load.sigma_share, load.sigma_w, load.max_age_s, load.delay_s, load.typical_w,
            load.typical_sigma_w,
        ))  # fmt: skip
        share = 1.0 / len(load.buses)
        for bus in load.buses:
            name = f"{bus}@{load.id}"
            rows.append(Row(active, name, at, share))
            q = (share * load.tan_phi, share * load.tan_phi_sigma, FLOOR_VAR)
            rows.append(Row(reactive, name, at, *q, follows=True))
    for unit in settings.unit:
        meter = (unit.sigma_share, unit.sigma_w, unit.max_age_s, unit.delay_s)
        at = channel(Channel(unit.id, (unit.tag,), *meter, unit.typical_w, unit.typical_sigma_w))
        rows.append(Row(active, unit.bus, at, -1.0))
        if unit.reactive_tag:
            at = channel(Channel(unit.id, (unit.reactive_tag,), *meter, 0.0, unit.reactive_sigma_var))
            rows.append(Row(reactive, unit.bus, at, -1.0))
        elif unit.reactive_order:
            order = Channel(
                unit.id, (unit.reactive_order,), 0.0, 1.0, unit.max_age_s, 0.0, 0.0, unit.reactive_sigma_var
            )
            rows.append(
                Row(reactive, unit.bus, channel(order), -1.0, sigma=unit.reactive_sigma_var, follows=True)
            )
        else:
            rows.append(Row(reactive, unit.bus, sigma=unit.reactive_sigma_var))
    buses_of = {one.id: one.buses for one in settings.load}
    nominal = {one.id: one.nominal_v for one in settings.bus}
    again: Counter[str] = Counter()
    volts = [one.bus for one in settings.meter if one.quantity == "voltage_v"]
    for one in settings.meter:
        voltage = one.quantity == "voltage_v"
        at = channel(Channel(
            one.id, tags_of(one.tag, tags), one.sigma_share, one.sigma_floor, one.max_age_s, one.delay_s,
            nominal_v=nominal[one.bus] if voltage else 0.0,
        ))  # fmt: skip
        if one.load:
            buses = buses_of[one.load]
            names = {f"{bus}@{one.load}" for bus in buses}
            rows = [replace(row, again=(*row.again, at)) if row.follows and row.bus in names else row for row in rows]
            rows += [Row(AGAIN[again[one.load]], f"{bus}@{one.load}", at, 1.0 / len(buses)) for bus in buses]
            again[one.load] += 1
        else:
            several = voltage and volts.count(one.bus) > 1
            rows.append(Row(QUANTITIES[one.quantity], f"{one.bus}@{one.id}" if several else one.bus, at))
    held = {one.bus for one in rows if one.kind in (active, reactive)}
    bare = [one for one in settings.bus if one.unmetered_w and one.id not in held]
    rows += [Row(kind, one.id, sigma=one.unmetered_w) for one in bare for kind in (active, reactive)]
    return channels, rows


def _buses(settings: EstimationSettings, rows: list[Row]) -> list[_Bus]:
    base_w = settings.general.base_w
    volts = {one.id: one.nominal_v for one in settings.bus}
    found = {one.id: _Bus(one.id, "", 0.0, 0.0, one.nominal_v) for one in settings.bus}
    for line in settings.line:
        ohm = volts[line.bus] ** 2 / base_w / line.km if line.km else np.inf
        found[line.bus] = _Bus(line.bus, line.at, line.r_ohm_per_km / ohm, line.x_ohm_per_km / ohm, volts[line.bus])
    for one in settings.transformer:
        z = one.short_circuit_pu * base_w / one.rated_va
        r = z / float(np.hypot(1.0, one.x_over_r))
        found[one.bus] = _Bus(one.bus, one.at, r, r * one.x_over_r, volts[one.bus])
    for breaker in settings.breaker:
        found[breaker.bus] = _Bus(breaker.bus, breaker.at, 0.0, 0.0, volts[breaker.bus], (breaker.id, breaker.tag))
    switch = {one.id: (one.id, one.switch) for one in settings.load if one.switch}
    for name in dict.fromkeys(one.bus for one in rows if "@" in one.bus):
        at, _, behind = name.partition("@")
        found[name] = _Bus(name, at, 0.0, 0.0, volts[at], switch.get(behind))
    return list(found.values())


def _below(buses: list[_Bus], top: str) -> set[str]:
    parent = {one.name: one.parent for one in buses}
    inside = {top}
    for one in buses:
        path, here = [], one.name
        while here and here not in inside:
            path.append(here)
            here = parent[here]
        if here:
            inside.update(path)
    return inside


def _meter(at: int, row: Row, bus: int, channels: list[Channel]) -> Meter:
    """For the estimator; its tag is the row's number, and its values come with the sign of the row."""
    if row.channel == NONE or row.follows:
        return Meter(str(at), row.kind, bus)
    ends = row.factor * channels[row.channel].low, row.factor * channels[row.channel].high
    return Meter(str(at), row.kind, bus, low=min(ends), high=max(ends))


def _topology(settings: EstimationSettings, channels: list[Channel], buses: list[_Bus], rows: list[Row]) -> Topology:
    general = settings.general
    index = {one.name: k for k, one in enumerate(buses)}
    held = {one.bus for one in rows if one.kind in (MeterKind.LOAD_W, MeterKind.LOAD_VAR)}
    switches = [k for k, one in enumerate(buses) if one.switch is not None]
    network = EstimatorNetwork(
        tuple(one.name for one in buses), np.array([index.get(one.parent, -1) for one in buses]),
        np.array([one.r for one in buses]), np.array([one.x for one in buses]), general.base_w,
        np.array([one.nominal_v for one in buses]), switches=tuple(switches),
        empty=tuple(k for k, one in enumerate(buses) if one.name not in held),
    )  # fmt: skip
    meters = tuple(_meter(at, one, index[one.bus], channels) for at, one in enumerate(rows))
    params = EstimationParams(
        network, meters, BadDataParams(general.false_alarms, general.residual_limit), general.voltage_good_pu,
        general.voltage_known_pu, general.power_good_w / general.base_w, general.base_w,
        decide_by_form=False,  # see observe: when it began tells more
    )  # fmt: skip
    moved = [buses[k].switch for k in switches]
    column = {name: np.array([getattr(one, name) for one in rows]) for name in ("factor", "factor_sigma", "sigma")}
    return Topology(
        params, tuple(rows), np.array([one.channel for one in rows]), column["factor"], column["factor_sigma"],
        column["sigma"], tuple(one.channel for one in rows if one.kind is MeterKind.VOLTAGE_V),
        tuple(one[0] for one in moved if one is not None), tuple(one[1] for one in moved if one is not None),
    )  # fmt: skip
