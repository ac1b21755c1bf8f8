"""What people's commands hold in the devices of a part, kept for the process that takes its place when it is killed.

A driver says what stands (:meth:`KeptOrders.keep`) and what does not any more (:meth:`KeptOrders.end`); the driver of
the next process asks for it (:meth:`KeptOrders.of`) before its device is there, and goes on as if it had never been
away: it refreshes, ends when the order's own time is over, and gives way as ever. What has run out meanwhile, or what
nobody may write now, is not revived. Set-points of programs need none of this: their lease and their tag say it all.

The file lies in the run directory, in memory, and goes with the run: one line for each change, appended in one write,
so that a kill takes no more than the line that it cuts. What cannot be taken up again is an event of class
:data:`LOST`, for which a site has an alarm.
"""

from __future__ import annotations

import json
import logging
import math
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from gwanje.core.bus.messages import Event
from gwanje.core.clock import Clock, boot_id
from gwanje.core.tags.table import TagTable
from gwanje.io.field.outlet import Outlet

LOST = "order_lost"
"""Class of the event about an order that its device was not given again."""
SPARE_LINES = 4_096
"""Lines of orders that stand no more; beyond them, and beyond one for each that stands, the file is written anew."""
BYTES_MAX = 16 * 1024 * 1024
"""A file larger than this is not ours: a hundred bytes a line, ten thousand lamps, and what is spare."""
NAMED_MAX = 3
"""Points that an event names; of more it says how many."""


@dataclass(frozen=True, slots=True)
class KeptOrder:
    """What a person's command holds in a device.

    Attributes:
        point: tag that was commanded.
        value: in the tag's unit.
        until_mono_ns: when its time is over, CLOCK_MONOTONIC of this boot.
    """

    point: str
    value: float
    until_mono_ns: int


class Kept(Protocol):
    """What drivers need of :class:`KeptOrders`."""

    def of(self, point: str) -> KeptOrder | None:
        """What the process before left standing, and may go on; asked once, before the device is there."""

    def keep(self, point: str, value: float, until_mono_ns: int) -> None:
        """A command was carried out and stands."""

    def end(self, point: str) -> None:
        """It does not stand any more."""

    def settled(self, point: str) -> None:
        """The device has what was taken up again."""

    def refused(self, point: str, reason: str) -> None:
        """The device does not take what was to be taken up again: told once."""


class NothingKept:
    """For drivers whose orders end with their process, such as those of benches."""

    def of(self, point: str) -> KeptOrder | None:
        """Nothing was left."""
        del point
        return None

    def keep(self, point: str, value: float, until_mono_ns: int) -> None:
        """Nothing is kept."""

    def end(self, point: str) -> None:
        """Nothing was kept."""

    def settled(self, point: str) -> None:
        """Nothing was taken up."""

    def refused(self, point: str, reason: str) -> None:
        """Nothing was taken up."""


NOTHING_KEPT = NothingKept()


class KeptOrders:
    """See the module. Use it from one thread.

    Args:
        run_dir: of the city.
        part: whose orders they are.
        points: that the part's devices can be commanded by.
        tags: the site's.
        barred: whether nobody may write a point now.
        outlet: takes events.
        clock: of the machine.
        log: hears when nothing can be kept.
    """

    def __init__(
        self, run_dir: Path, part: str, points: frozenset[str], tags: TagTable, barred: Callable[[str], bool],
        outlet: Outlet, clock: Clock, log: logging.Logger,
    ) -> None:  # fmt: skip
        self._path = run_dir / f"orders-{part}.jsonl"
        self._part = part
        self._points = points
        self._tags = tags
        self._barred = barred
        self._outlet = outlet
        self._clock = clock
        self._log = log
        self._orders: dict[str, KeptOrder] = {}
        self._left: dict[str, KeptOrder] = {}
        self._ended: dict[str, list[str]] = {"over": [], "barred": []}
        self._taken: list[str] = []
        self._unsettled: set[str] = set()
        self._lines = 0
        self._file = -1
        self._failed = False
        self._unread: tuple[str, str] | None = self._load()
        self._orders.update(self._left)
        self._write_anew()

    # ---- what drivers ask and say

    def of(self, point: str) -> KeptOrder | None:
        """See :class:`Kept`."""
        order = self._left.pop(point, None)
        if order is None:
            return None
        over = self._clock.mono_ns() >= order.until_mono_ns
        if over or self._barred(point):
            self._ended["over" if over else "barred"].append(point)
            self.end(point)
            return None
        self._taken.append(point)
        self._unsettled.add(point)
        return order

    def keep(self, point: str, value: float, until_mono_ns: int) -> None:
        """See :class:`Kept`."""
        self._unsettled.discard(point)
        self._left.pop(point, None)
        self._orders.pop(point, None)  # the newest stands last: of lamps and their zone the order counts
        self._orders[point] = KeptOrder(point, value, until_mono_ns)
        self._append(_line(self._orders[point]))

    def end(self, point: str) -> None:
        """See :class:`Kept`."""
        self._unsettled.discard(point)
        self._left.pop(point, None)
        if self._orders.pop(point, None) is not None:
            self._append(json.dumps({"ended": point}))

    def settled(self, point: str) -> None:
        """See :class:`Kept`."""
        self._unsettled.discard(point)

    def refused(self, point: str, reason: str) -> None:
        """See :class:`Kept`."""
        if point in self._unsettled:
            self._unsettled.discard(point)
            self._tell_lost([point], f"장치가 받지 않음: {reason}", f"the device does not take it: {reason}")

    # ---- what the part tells once its drivers have asked

    def tell(self) -> None:
        """What became of the orders of the process before; call it when all drivers are made."""
        nobody, self._left = list(self._left), {}
        for point in nobody:
            self.end(point)
        if self._unread:
            ko, en = self._unread
            self._tell_lost([], f"보관된 명령을 읽을 수 없음 ({ko})", f"what was kept cannot be read ({en})")
        if nobody:
            self._tell_lost(nobody, "이 명령을 받을 장치가 없음", "no device takes it")
        if self._ended["barred"]:
            self._tell_lost(self._ended["barred"], "위험 태그 또는 쓰기 차단", "a danger tag, or the gate is closed")
        if over := self._ended["over"]:
            self._event("orders_over", f"재시작 동안 시간이 끝난 명령: {_names(over)}",
                        f"orders whose time ended during the restart: {_names(over)}", over)  # fmt: skip
        if taken := self._taken:
            self._event("orders_taken_up", f"재시작 후 명령을 이어 감: {_names(taken)}",
                        f"orders taken up again after a restart: {_names(taken)}", taken)  # fmt: skip
        self._ended, self._taken, self._unread = {"over": [], "barred": []}, [], None

    def _tell_lost(self, points: list[str], ko: str, en: str) -> None:
        which_ko, which_en = (_names(points), _names(points)) if points else ("명령", "orders")
        self._event(LOST, f"재시작 후 이어 가지 못한 명령: {which_ko}: {ko}",
                    f"not taken up again after a restart: {which_en}: {en}", points)  # fmt: skip

    def _event(self, class_name: str, ko: str, en: str, points: list[str]) -> None:
        data: dict[str, float | int | str | bool] = {"n": len(points), "points": ", ".join(points[:NAMED_MAX])}
        utc_ns, mono_ns = self._clock.utc_ns(), self._clock.mono_ns()
        devices = {point.rpartition(".")[0] for point in points}
        source = devices.pop() if len(devices) == 1 else f"part_{self._part}"
        self._outlet.event(Event("device", source, class_name, utc_ns, mono_ns, ko, en, data=data))

    # ---- the file

    def _load(self) -> tuple[str, str] | None:
        """Read what was left; why not all of it could be, in Korean and English."""
        try:
            with open(self._path, "rb") as file:
                content = file.read(BYTES_MAX + 1)
        except FileNotFoundError:
            return None
        except OSError as error:
            return (error.strerror or str(error),) * 2
        lines = content[:BYTES_MAX].split(b"\n")
        whole = lines[:-1]  # what has no end is a line that the kill has cut
        if not whole or whole[0] != _head().encode():
            return ("다른 부팅의 파일이거나 손상됨", "it is of another boot, or damaged") if content else None
        unreadable = sum(not self._take(line) for line in whole[1:])
        if len(content) > BYTES_MAX:
            return f"{BYTES_MAX}바이트 초과", f"longer than {BYTES_MAX} bytes"
        n = len(whole) - 1
        return (f"{n}줄 중 {unreadable}줄", f"{unreadable} lines of {n}") if unreadable else None

    def _take(self, line: bytes) -> bool:
        """One line of the file; whether it can be believed."""
        try:
            row = json.loads(line)
            if "ended" in row:
                self._left.pop(row["ended"], None)
                return True
            point, value, until_ns = row["point"], float(row["value"]), row["until_mono_ns"]
            tag = self._tags.get(point) if point in self._points else None
        except (ValueError, TypeError, KeyError, RecursionError):
            return False
        if tag is None or not isinstance(until_ns, int) or not math.isfinite(value) or not tag.low <= value <= tag.high:
            return False
        self._left.pop(point, None)
        self._left[point] = KeptOrder(point, value, until_ns)
        return True

    def _append(self, line: str) -> None:
        self._lines += 1
        if self._file < 0 or self._lines > 2 * len(self._orders) + SPARE_LINES:
            self._write_anew()
            if self._file < 0:
                self._forget()
            return
        try:
            _write(self._file, f"{line}\n")
            self._failed = False
        except OSError as error:
            self._cannot(error)
            self._forget()

    def _write_anew(self) -> None:
        """The file with what stands, in one step."""
        now_ns = self._clock.mono_ns()
        fresh = self._path.with_suffix(".new")
        try:
            file = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW,
                           0o600)  # fmt: skip
            try:
                stands = [_line(one) for one in self._orders.values() if one.until_mono_ns > now_ns]
                _write(file, "\n".join([_head(), *stands, ""]))
                os.replace(fresh, self._path)
            except OSError:
                os.close(file)
                raise
        except OSError as error:
            self._cannot(error)
            return
        self.close()
        self._file, self._lines, self._failed = file, len(stands), False

    def _cannot(self, error: OSError) -> None:
        """Nothing can be kept; the next change tries to write everything anew."""
        self.close()
        if not self._failed:
            self._failed = True
            self._log.warning("orders cannot be kept for a restart: %s", error)
            self._tell_lost([], f"보관할 수 없음 ({error.strerror})", f"they cannot be kept ({error.strerror})")

    def _forget(self) -> None:
        """A change is missing in the file: rather none of it than an order that has ended since."""
        try:
            self._path.unlink(missing_ok=True)
        except OSError as error:
            self._log.warning("%s may name orders that have ended: %s", self._path, error)

    def close(self) -> None:
        """Let go of the file."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1


def _head() -> str:
    return json.dumps({"boot": boot_id()})


def _line(order: KeptOrder) -> str:
    return json.dumps({"point": order.point, "value": order.value, "until_mono_ns": order.until_mono_ns})


def _write(file: int, text: str) -> None:
    """All of a text; a disk that takes a part of it only has no room for the rest."""
    content = memoryview(text.encode())
    while content:
        content = content[os.write(file, content) :]


def _names(points: list[str]) -> str:
    more = f" +{len(points) - NAMED_MAX}" if len(points) > NAMED_MAX else ""
    return ", ".join(points[:NAMED_MAX]) + more
