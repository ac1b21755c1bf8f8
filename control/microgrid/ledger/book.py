"""The ledger's file: where it stands, and every entry that it closed.

State and entries are written together or not at all, so that a kill at any moment leaves both as they were a few
seconds before: nothing is counted twice, and what was not written is a gap.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from gwanje.control.microgrid.ledger.accounting import Closed, Span
from gwanje.control.microgrid.ledger.entry import Channel, Entry
from gwanje.core.record_file import RecordFile, RecordFileError

FILE = "ledger.sqlite"
SCHEMA = "ledger 1"
QUARTERS_KEPT_DAYS = 400
"""Quarter hours of the last year and a month, 1 kB each; days, months and years stay for good."""
DAY_NS = 86_400 * 1_000_000_000


class LedgerBookError(OSError):
    """The books cannot be read or written; counting goes on."""


@dataclass(frozen=True, slots=True)
class Row:
    """A closed entry, and what it was counted by."""

    entry: Entry
    channels: tuple[Channel, ...]


class LedgerBook:
    """The open file. Use it from one thread.

    Args:
        path: of the file.
        read_only: for somebody who only looks; the file must be there then.

    Attributes:
        set_aside: name of a file that could not be used, with the reason; empty when all was well.

    Raises:
        LedgerBookError: no file can be opened there.
    """

    def __init__(self, path: Path, *, read_only: bool = False) -> None:
        try:
            self._file = RecordFile(path, SCHEMA, read_only=read_only)
        except RecordFileError as error:
            raise LedgerBookError(str(error)) from error
        self.set_aside = self._file.set_aside
        self._known = [tuple(Channel(**one) for one in channels) for channels in self._read("channels", [])]

    def state(self) -> dict[str, Any] | None:
        """The newest state that was saved, as :func:`.state.to_plain` gave it; ``None`` in an empty book.

        Raises:
            LedgerBookError: it cannot be read.
        """
        state = self._read("state", None)
        if state is not None and not isinstance(state, dict):
            raise LedgerBookError("the state is damaged: it is no object")
        return state

    def about(self) -> dict[str, Any]:
        """What the part says of itself, see :meth:`save`.

        Raises:
            LedgerBookError: it cannot be read.
        """
        return dict(self._read("about", {}))

    def rows(self, span: Span, begin_utc_ns: int, end_utc_ns: int) -> list[Row]:
        """Entries that begin in a stretch of time, in their order.

        Raises:
            LedgerBookError: they cannot be read.
        """
        try:
            return [self._row(text) for text in self._file.records(span, begin_utc_ns, end_utc_ns)]
        except (RecordFileError, ValueError, TypeError, KeyError, IndexError) as error:
            raise LedgerBookError(f"entries cannot be read: {error}") from error

    def save(
        self, state: dict[str, Any], closed: Sequence[Closed], channels: tuple[Channel, ...], about: dict[str, Any]
    ) -> None:
        """Keep a state and what it has closed since the last one, together.

        Args:
            state: from :func:`.state.to_plain`.
            closed: since the last save that went well.
            channels: of both.
            about: what a reader without the part must know: speed, zone, whether the city is simulated.

        Raises:
            LedgerBookError: nothing of it was kept.
        """
        texts = {"state": _dumped(state), "about": _dumped(about)}
        if channels not in self._known:
            self._known.append(channels)
            texts["channels"] = _dumped([[asdict(one) for one in each] for each in self._known])
        which = self._known.index(channels)
        records = [
            (one.span, one.entry.begin_utc_ns, _dumped({"channels": which, "entry": asdict(one.entry)}))
            for one in closed
        ]
        days = [one.entry.end_utc_ns for one in closed if one.span == "day"]
        forget = [("quarter", days[-1] - QUARTERS_KEPT_DAYS * DAY_NS)] if days else []
        try:
            self._file.save(texts, records, forget)
        except RecordFileError as error:
            if "channels" in texts:
                self._known.pop()  # it was not kept: the next save says it again
            raise LedgerBookError(f"the energy ledger: {error}") from error

    def close(self) -> None:
        """Give the file back."""
        self._file.close()

    def _read(self, name: str, otherwise: Any) -> Any:
        try:
            text = self._file.text(name)
            return json.loads(text) if text else otherwise
        except (RecordFileError, ValueError, RecursionError) as error:
            raise LedgerBookError(f"{name} of the ledger is damaged: {error}") from error

    def _row(self, text: str) -> Row:
        plain = json.loads(text)
        values: dict[str, Any] = plain["entry"]
        for key, one in values.items():
            values[key] = tuple(one) if isinstance(one, list) else one
        return Row(Entry(**values), self._known[plain["channels"]])


def _dumped(plain: Any) -> str:
    return json.dumps(plain, separators=(",", ":"), ensure_ascii=False)


def of_quarters(rows: Iterable[Row]) -> list[tuple[int, int, int]]:
    """Begin, import and export of each row, milliwatt-hours: what a bill is made of."""
    found = []
    for row in rows:
        tie = next((k for k, one in enumerate(row.channels) if one.role == "tie"), None)
        if tie is not None:
            entry = row.entry
            found.append((entry.begin_utc_ns, entry.forward_mwh[tie], entry.reverse_mwh[tie]))
    return found
