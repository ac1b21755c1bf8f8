"""Lines of the energy ledger: what came from where and went where in a span of time, in whole milliwatt-hours.

Every channel counts forward and reverse flow apart. The identity, exact in integers for every entry and every sum::

    import + generation + backfeed
        = load + standby + export + storage loss + network loss + storage change + unaccounted

``unaccounted`` is what the meters leave open. It is never spread over other lines; four lines say where it comes from:
spans with estimated or missing values, storages whose flow was not measured for a while, meters that disagree, and
rounding to whole milliwatt-hours.
"""

from __future__ import annotations

import operator
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import reduce
from itertools import starmap
from typing import Literal

Role = Literal["tie", "generation", "load", "storage", "loss", "curtailed", "unserved"]
BALANCED: tuple[Role, ...] = ("tie", "generation", "load", "storage", "loss")
"""Roles that take part in the balance; the others stand beside it."""
SOURCE_SIGN: dict[Role, int] = {"tie": 1, "generation": 1, "load": -1, "storage": 1, "loss": -1}
"""Whether forward flow feeds the city (import, generation, discharge) or takes from it."""
CO2_UNITS_PER_KG = 10**12
"""Carbon is counted in milliwatt-hours times milligrams per kilowatt-hour."""


@dataclass(frozen=True, slots=True)
class Channel:
    """One measured flow.

    Attributes:
        name: tag or short name.
        role: what it is; forward is import, generation, consumption, discharge.
        co2_mg_per_kwh: what its fuel emits for each kWh generated.
    """

    name: str
    role: Role
    co2_mg_per_kwh: int = 0


@dataclass(frozen=True, slots=True)
class Entry:
    """A span of the ledger. Tuples follow the channels; ``stored`` ones follow the storages among them.

    Attributes:
        begin_utc_ns: where it begins.
        end_utc_ns: where it ends.
        forward_mwh: energy in the direction of the role.
        reverse_mwh: energy against it (export, standby, backfeed, charging); not negative.
        estimated_mwh: of both together, what was not measured but estimated.
        estimated_ns: how long each channel was estimated.
        missing_ns: how long each was unknown and counted as nothing.
        stored_change_mwh: what each storage has more at the end than at the begin.
        stored_end_mwh: in each storage at the end.
        open_gap_mwh: unaccounted while something was estimated or missing.
        open_meters_mwh: unaccounted while everything was measured.
        open_storage_mwh: loss of storages in quarters of an hour in which their flow was estimated or missing.
        gap_ns: time without any sample.
        peak_import_mwh: greatest net import of a whole quarter of an hour.
        import_cost: imported energy times energy price, milliwatt-hours times hundredths of a won per kWh.
        unpriced_mwh: imported energy for which the tariff has no price, such as before its first period.
        import_co2: imported energy times the utility's carbon.
        avoided_co2: what the utility did not have to generate times its carbon, less that of the city's own fuels.
    """

    begin_utc_ns: int
    end_utc_ns: int
    forward_mwh: tuple[int, ...]
    reverse_mwh: tuple[int, ...]
    estimated_mwh: tuple[int, ...]
    estimated_ns: tuple[int, ...]
    missing_ns: tuple[int, ...]
    stored_change_mwh: tuple[int, ...]
    stored_end_mwh: tuple[int, ...]
    open_gap_mwh: int = 0
    open_meters_mwh: int = 0
    open_storage_mwh: int = 0
    gap_ns: int = 0
    peak_import_mwh: int = 0
    import_cost: int = 0
    unpriced_mwh: int = 0
    import_co2: int = 0
    avoided_co2: int = 0


@dataclass(frozen=True, slots=True)
class Balance:
    """The lines of an entry by kind, milliwatt-hours; see the module for the identity they keep."""

    import_mwh: int
    generation_mwh: int
    backfeed_mwh: int
    load_mwh: int
    standby_mwh: int
    export_mwh: int
    charge_mwh: int
    discharge_mwh: int
    storage_change_mwh: int
    storage_loss_mwh: int
    network_loss_mwh: int
    curtailed_mwh: int
    unserved_mwh: int
    unaccounted_gap_mwh: int
    unaccounted_storage_mwh: int
    unaccounted_meters_mwh: int
    unaccounted_rounding_mwh: int

    @property
    def sources_mwh(self) -> int:
        """Left side of the identity."""
        return self.import_mwh + self.generation_mwh + self.backfeed_mwh

    @property
    def uses_mwh(self) -> int:
        """Right side of the identity without what is unaccounted."""
        return (
            self.load_mwh + self.standby_mwh + self.export_mwh + self.storage_loss_mwh + self.network_loss_mwh
            + self.storage_change_mwh
        )  # fmt: skip

    @property
    def unaccounted_mwh(self) -> int:
        """What the meters leave open: the sum of its four causes."""
        return (
            self.unaccounted_gap_mwh + self.unaccounted_storage_mwh + self.unaccounted_meters_mwh
            + self.unaccounted_rounding_mwh
        )  # fmt: skip

    @property
    def residual_mwh(self) -> int:
        """Sources less uses less what is unaccounted: zero, or the books are wrong."""
        return self.sources_mwh - self.uses_mwh - self.unaccounted_mwh

    @property
    def consumption_mwh(self) -> int:
        """What stays in the city: loads, standby and losses."""
        return self.load_mwh + self.standby_mwh + self.storage_loss_mwh + self.network_loss_mwh

    @property
    def self_sufficiency(self) -> float:
        """Share of the consumption that was not bought: 1 less import over consumption; NaN without consumption.

        Over a short span it may leave 0…1: a battery that is being filled from the utility buys for later.
        """
        return 1.0 - self.import_mwh / self.consumption_mwh if self.consumption_mwh else float("nan")

    @property
    def self_consumption(self) -> float:
        """Share of the own generation that was not exported; NaN without generation."""
        own = self.generation_mwh
        return (own - self.export_mwh) / own if own else float("nan")


def balance(channels: Sequence[Channel], entry: Entry) -> Balance:
    """An entry's lines by kind."""

    def total(values: Iterable[int], role: Role) -> int:
        return sum(value for value, channel in zip(values, channels, strict=True) if channel.role == role)

    change = sum(entry.stored_change_mwh)
    discharge, charge = total(entry.forward_mwh, "storage"), total(entry.reverse_mwh, "storage")
    at_bus = sum(
        SOURCE_SIGN[channel.role] * (forward - reverse)
        for channel, forward, reverse in zip(channels, entry.forward_mwh, entry.reverse_mwh, strict=True)
        if channel.role in BALANCED
    )
    return Balance(
        import_mwh=total(entry.forward_mwh, "tie"),
        generation_mwh=total(entry.forward_mwh, "generation"),
        backfeed_mwh=total(entry.reverse_mwh, "load"),
        load_mwh=total(entry.forward_mwh, "load"),
        standby_mwh=total(entry.reverse_mwh, "generation"),
        export_mwh=total(entry.reverse_mwh, "tie"),
        charge_mwh=charge,
        discharge_mwh=discharge,
        storage_change_mwh=change,
        storage_loss_mwh=charge - discharge - change - entry.open_storage_mwh,
        network_loss_mwh=total(entry.forward_mwh, "loss") - total(entry.reverse_mwh, "loss"),
        curtailed_mwh=total(entry.forward_mwh, "curtailed"),
        unserved_mwh=total(entry.forward_mwh, "unserved"),
        unaccounted_gap_mwh=entry.open_gap_mwh,
        unaccounted_storage_mwh=entry.open_storage_mwh,
        unaccounted_meters_mwh=entry.open_meters_mwh,
        unaccounted_rounding_mwh=at_bus - entry.open_gap_mwh - entry.open_meters_mwh,
    )


def add(first: Entry, second: Entry) -> Entry:
    """Two entries, the second after the first, as one. Time between them is theirs only as the gap they count."""

    def both(a: tuple[int, ...], b: tuple[int, ...]) -> tuple[int, ...]:
        return tuple(starmap(operator.add, zip(a, b, strict=True)))

    return Entry(
        begin_utc_ns=first.begin_utc_ns,
        end_utc_ns=second.end_utc_ns,
        forward_mwh=both(first.forward_mwh, second.forward_mwh),
        reverse_mwh=both(first.reverse_mwh, second.reverse_mwh),
        estimated_mwh=both(first.estimated_mwh, second.estimated_mwh),
        estimated_ns=both(first.estimated_ns, second.estimated_ns),
        missing_ns=both(first.missing_ns, second.missing_ns),
        stored_change_mwh=both(first.stored_change_mwh, second.stored_change_mwh),
        stored_end_mwh=second.stored_end_mwh,
        open_gap_mwh=first.open_gap_mwh + second.open_gap_mwh,
        open_meters_mwh=first.open_meters_mwh + second.open_meters_mwh,
        open_storage_mwh=first.open_storage_mwh + second.open_storage_mwh,
        gap_ns=first.gap_ns + second.gap_ns,
        peak_import_mwh=max(first.peak_import_mwh, second.peak_import_mwh),
        import_cost=first.import_cost + second.import_cost,
        unpriced_mwh=first.unpriced_mwh + second.unpriced_mwh,
        import_co2=first.import_co2 + second.import_co2,
        avoided_co2=first.avoided_co2 + second.avoided_co2,
    )


def summed(entries: Sequence[Entry]) -> Entry:
    """All entries as one; they follow each other and there is at least one."""
    return reduce(add, entries)
