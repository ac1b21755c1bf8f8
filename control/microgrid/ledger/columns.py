"""The ledger of many quarters of an hour at once: the same entries as :mod:`.accounting`, from arrays.

For simulated years and for what the historian has kept. Integers throughout; sums of products that do not fit into
64 bits are split.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from gwanje.control.microgrid.ledger.accounting import MG_PER_KWH, LedgerParams
from gwanje.control.microgrid.ledger.entry import BALANCED, SOURCE_SIGN, Entry
from gwanje.control.microgrid.tariff.local_time import QUARTER_NS, Ints, civil
from gwanje.control.microgrid.tariff.tariff import exact_sum


@dataclass(frozen=True, slots=True, eq=False)
class Columns:
    """Whole quarters of an hour that follow each other.

    Attributes:
        begin_utc_ns: of each, (n,).
        energy_mwh: net flow of each channel in the direction of its role, (n, n_channels).
        stored_mwh: in each storage at the begin of each and at the end of the last, (n + 1, n_storages).
    """

    begin_utc_ns: Ints
    energy_mwh: Ints
    stored_mwh: Ints

    def channel(self, k: int) -> Ints:
        """One channel's net flow, (n,)."""
        flow: Ints = self.energy_mwh[:, k]
        return flow


def entries(columns: Columns, params: LedgerParams, span: Literal["day", "month", "year", "all"]) -> list[Entry]:
    """The entries of each period that the quarters lie in, or one of all."""
    n = len(columns.begin_utc_ns)
    assert n > 0
    assert columns.energy_mwh.shape == (n, len(params.channels))
    assert columns.stored_mwh.shape == (n + 1, params.n_storages)
    assert (np.diff(columns.begin_utc_ns) == QUARTER_NS).all(), "quarters that follow each other"
    local = civil(columns.begin_utc_ns, params.zone)
    keys = {"day": local.day, "month": local.month, "year": local.month // 12, "all": np.zeros(n, np.int64)}[span]
    starts = [0, *(np.flatnonzero(np.diff(keys)) + 1).tolist()]
    ends = [*starts[1:], n]
    forward, reverse = np.maximum(columns.energy_mwh, 0), np.maximum(-columns.energy_mwh, 0)
    forwards, reverses = np.add.reduceat(forward, starts, axis=0), np.add.reduceat(reverse, starts, axis=0)
    net_import, cost, bought_co2, avoided_co2 = _priced(columns, params, forward, reverse)
    signs = [SOURCE_SIGN[one.role] if one.role in BALANCED else 0 for one in params.channels]
    at_bus = columns.energy_mwh @ np.array(signs, np.int64)
    zeros = (0,) * len(params.channels)
    found = []
    for k, (first, after) in enumerate(zip(starts, ends, strict=True)):
        stored_end = columns.stored_mwh[after]
        found.append(
            Entry(
                begin_utc_ns=int(columns.begin_utc_ns[first]),
                end_utc_ns=int(columns.begin_utc_ns[after - 1]) + QUARTER_NS,
                forward_mwh=tuple(forwards[k].tolist()),
                reverse_mwh=tuple(reverses[k].tolist()),
                estimated_mwh=zeros,
                estimated_ns=zeros,
                missing_ns=zeros,
                stored_change_mwh=tuple((stored_end - columns.stored_mwh[first]).tolist()),
                stored_end_mwh=tuple(stored_end.tolist()),
                open_meters_mwh=int(at_bus[first:after].sum()),
                peak_import_mwh=max(0, int(net_import[first:after].max())),
                import_cost=exact_sum(cost[first:after]),
                import_co2=exact_sum(bought_co2[first:after]),
                avoided_co2=exact_sum(avoided_co2[first:after]),
            )
        )
    return found


def _priced(columns: Columns, params: LedgerParams, forward: Ints, reverse: Ints) -> tuple[Ints, Ints, Ints, Ints]:
    """Net import of each quarter, cost of its import, and carbon bought and avoided (:func:`.accounting.priced`)."""
    nothing = np.zeros(len(columns.begin_utc_ns), np.int64)
    tie = next((k for k, one in enumerate(params.channels) if one.role == "tie"), None)
    if tie is None:
        return nothing, nothing, nothing, nothing
    bought, sold = forward[:, tie], reverse[:, tie]
    if params.tariff is None:
        return bought - sold, nothing, nothing, nothing
    when = columns.begin_utc_ns
    carbon = np.rint(params.tariff.carbon_kg_per_kwh(when) * MG_PER_KWH).astype(np.int64)
    own, load = nothing.copy(), nothing.copy()
    for k, one in enumerate(params.channels):
        own += forward[:, k] * one.co2_mg_per_kwh
        if one.role in ("load", "loss"):
            load += columns.energy_mwh[:, k]
    avoided = (load + sold - bought) * carbon - own
    return bought - sold, bought * params.tariff.energy_centi_krw_per_kwh(when), bought * carbon, avoided
