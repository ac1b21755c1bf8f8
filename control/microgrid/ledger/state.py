"""The ledger's state as plain numbers and back: what a restarted part goes on from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from typing import Any

from gwanje.control.microgrid.ledger.accounting import PERIODS, LedgerParams, LedgerState, LedgerStateError, Sums, begin
from gwanje.control.microgrid.ledger.entry import Entry

VERSION = 1


def to_plain(state: LedgerState, params: LedgerParams) -> dict[str, Any]:
    """Dictionaries, lists and whole numbers that JSON and msgpack can carry; no number is rounded."""
    plain = asdict(state)
    plain["peaks_mwh"] = [list(pair) for pair in state.peaks_mwh]
    return {"version": VERSION, "channels": [[one.name, one.role] for one in params.channels], "state": plain}


def from_plain(plain: Mapping[str, Any], params: LedgerParams) -> LedgerState:
    """The state again.

    Raises:
        LedgerStateError: it was made by another version or for other channels, or is damaged.
    """
    if plain.get("version") != VERSION:
        raise LedgerStateError(f"version {plain.get('version')!r} is not {VERSION}")
    channels = [[one.name, one.role] for one in params.channels]
    if [list(one) for one in plain.get("channels", ())] != channels:
        raise LedgerStateError("the state is of other channels")
    stored = plain.get("state")
    if not isinstance(stored, Mapping) or {one.name for one in fields(LedgerState)} != set(stored):
        raise LedgerStateError("the state has other fields")
    model = begin(params)
    try:
        entries = {span: _entry(stored[span], model, params) for span in PERIODS}
        return LedgerState(
            utc_ns=_whole(stored["utc_ns"]),
            begin_utc_ns=_whole(stored["begin_utc_ns"]),
            sums=_sums(stored["sums"], model.sums),
            last_mw=_perhaps(stored["last_mw"], len(model.last_mw)),
            known_ns=_wholes(stored["known_ns"], len(model.known_ns)),
            stored_mwh=_perhaps(stored["stored_mwh"], params.n_storages),
            stored_begin_mwh=_perhaps(stored["stored_begin_mwh"], params.n_storages),
            peaks_mwh=tuple((_whole(month), _whole(peak)) for month, peak in stored["peaks_mwh"]),
            overlap_ns=_whole(stored["overlap_ns"]),
            **entries,
        )
    except (KeyError, TypeError, ValueError) as error:
        raise LedgerStateError(f"the state is damaged: {error}") from None


def _sums(plain: Mapping[str, Any], model: Sums) -> Sums:
    values: dict[str, Any] = {}
    for one in fields(Sums):
        like = getattr(model, one.name)
        values[one.name] = _wholes(plain[one.name], len(like)) if isinstance(like, tuple) else _whole(plain[one.name])
    return Sums(**values)


def _entry(plain: Mapping[str, Any] | None, model: LedgerState, params: LedgerParams) -> Entry | None:
    if plain is None:
        return None
    values: dict[str, Any] = {}
    for one in fields(Entry):
        if one.name.startswith("stored_"):
            values[one.name] = _wholes(plain[one.name], params.n_storages)
        elif isinstance(plain[one.name], Sequence):
            values[one.name] = _wholes(plain[one.name], len(model.last_mw))
        else:
            values[one.name] = _whole(plain[one.name])
    return Entry(**values)


def _whole(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError(f"{value!r} is no whole number")
    return value


def _wholes(values: Sequence[Any], n: int) -> tuple[int, ...]:
    if len(values) != n:
        raise ValueError(f"{len(values)} numbers where there are {n}")
    return tuple(_whole(one) for one in values)


def _perhaps(values: Sequence[Any], n: int) -> tuple[int | None, ...]:
    if len(values) != n:
        raise ValueError(f"{len(values)} numbers where there are {n}")
    return tuple(None if one is None else _whole(one) for one in values)
