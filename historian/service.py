"""The part ``query``: answers the bus's questions about the past, in a process of its own beside the recorder.

A question may take a second and a hundred megabytes; the recorder must feel neither. DuckDB is loaded at the first
question, so a city that nobody asks carries almost nothing.

    {"op": "series", "tags": [...], "from_utc_ns": a, "until_utc_ns": b, "n": 1000}
    → {"series": {tag: {"utc_ns": [...], "value": [...]}}}       at most n points a tag, None where the value was bad
"""

from __future__ import annotations

import math
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

from gwanje.core.bus.bus import Request
from gwanje.core.city.part import PartContext

SERVICE = "history"
TAGS_MAX = 64
POINTS_MAX = 5_000
WAITING_MAX = 8
"""Questions that may wait; more are refused at once, so that nobody waits for an answer that comes too late."""
POLL_MS = 250


class QuestionError(ValueError):
    """A question that cannot be answered; the text goes back to the asker."""


def main(ctx: PartContext) -> None:
    """Answer questions until asked to stop."""
    server = ctx.bus.server(SERVICE)
    waiting: list[tuple[Future[dict[str, Any]], Request]] = []
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="query") as worker:
        while not ctx.stopping():
            ctx.heartbeat()
            request = server.receive(20 if waiting else POLL_MS)
            if request is not None and len(waiting) >= WAITING_MAX:
                request.refuse(f"{WAITING_MAX} questions wait already; ask again")
            elif request is not None:
                waiting.append((worker.submit(answer, ctx.history_dir, request.message), request))
            waiting = [one for one in waiting if not _replied(*one)]
        for future, _request in waiting:
            future.cancel()
    server.close()


def _replied(future: Future[dict[str, Any]], request: Request) -> bool:
    """Send the answer if it is there."""
    if not future.done():
        return False
    failure = future.exception()
    if failure is None:
        request.reply(future.result())
    else:
        request.refuse(str(failure) or type(failure).__name__)
    return True


def answer(directory: Path, message: dict[str, Any]) -> dict[str, Any]:
    """Answer one question about a history.

    Raises:
        QuestionError: it is none of the questions above, or asks for too much.
        HistoryError: there is no history.
    """
    if message.get("op") != "series":
        raise QuestionError(f"unknown op {message.get('op')!r}: series")
    tags, begin, until, n = _checked(message)
    from gwanje.historian.query import open_history  # DuckDB takes 0.2 s to load: only when somebody asks

    with open_history(directory) as history:
        table = history.sql(_series_sql(tags, begin, until, n))
    series: dict[str, dict[str, list[Any]]] = {tag: {"utc_ns": [], "value": []} for tag in tags}
    for tag, utc_ns, value, bad in zip(*(column.to_pylist() for column in table.columns), strict=True):
        series[tag]["utc_ns"].append(utc_ns)
        series[tag]["value"].append(None if bad or value is None or not math.isfinite(value) else value)
    return {"series": series}


def _checked(message: dict[str, Any]) -> tuple[list[str], int, int, int]:
    tags, n = message.get("tags"), message.get("n")
    begin, until = message.get("from_utc_ns"), message.get("until_utc_ns")
    if not isinstance(tags, list) or not 1 <= len(tags) <= TAGS_MAX or not all(isinstance(tag, str) for tag in tags):
        raise QuestionError(f"tags must be 1 to {TAGS_MAX} names")
    if not isinstance(n, int) or isinstance(n, bool) or not 1 <= n <= POINTS_MAX:
        raise QuestionError(f"n must be 1 to {POINTS_MAX}")
    if not isinstance(begin, int) or not isinstance(until, int) or not 0 <= begin < until < 2**63:
        raise QuestionError("from_utc_ns must lie before until_utc_ns")
    return list(dict.fromkeys(tags)), begin, until, n


def _series_sql(tags: list[str], begin: int, until: int, n: int) -> str:
    """The last point of each of n equal spans between the first recorded one and the end, a row each."""
    names = ", ".join("'" + tag.replace("'", "''") + "'" for tag in tags)
    return (
        f"with wanted as (select tag, utc_ns, value, quality from points where tag in ({names}) "
        f"and utc_ns >= {begin} and utc_ns < {until}), "
        f"span as (select min(utc_ns) as first, greatest(1, ({until} - min(utc_ns)) // {n}) as width from wanted), "
        "cut as (select *, least((utc_ns - first) // width, "
        f"{n - 1}) as piece from wanted, span) "
        "select tag, max(utc_ns) as utc_ns, arg_max(value, utc_ns) as value, "
        "arg_max(quality, utc_ns) >= 32768 as bad from cut group by tag, piece order by tag, utc_ns"
    )
