"""``gwanje acoustic``: how well the microphones hear, training them anew, and what a running city has heard."""

from __future__ import annotations

import argparse
import importlib
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gwanje.core.bus.bus import RequestRefusedError, RequestTimeoutError
from gwanje.core.cli import chirp
from gwanje.core.cli.operate import Desk
from gwanje.core.cli.parsing import CommandError, Commands, attached, with_site
from gwanje.core.cli.speech import with_lang

EVAL = "gwanje.control.acoustic.evaluation.command"
TRAIN = "gwanje.control.acoustic.train"
"""By name, because core imports no part."""
SERVICE = "acoustic"
TIMEOUT_MS = 5_000
VERDICTS: Mapping[str, str] = {word: f"control.acoustic.verdict_{word}" for word in ("true", "false", "unsure")}
"""What an operator says of an incident → the point whose value is its number."""
TAKEN = ("accepted", "confirmed")


def add(commands: Commands) -> None:
    """Add the commands."""
    group = commands.group("acoustic", "how well the microphones hear, and training them anew")
    chirp.add(group)
    score = group.add("eval", _eval, "score a folder of recordings with a manifest.csv (columns class,path,…)")
    score.add_argument("--clips", type=Path, required=True, metavar="DIR", help="folder with manifest.csv")
    score.add_argument("--json", action="store_true", help="one JSON object instead of a table")
    score.add_argument("--seed", type=_count, default=7, help="of the mixes (default: 7)")
    score.add_argument("--hours", type=_hours, default=4.0, help="of everyday sounds, at least (default: 4)")
    score.add_argument("--repeats", type=_repeats, default=3, help="of each event and ratio (default: 3)")
    score.add_argument(
        "--street-hours", type=_hours_or_none, default=0.0, metavar="H",
        help="node-hours of mixed streets besides, for false alarms per node and day (default: none)",
    )  # fmt: skip
    train = group.add("train", _train, "train the heads on a folder of recordings with a manifest.csv")
    train.add_argument("--clips", type=Path, required=True, metavar="DIR", help="folder with manifest.csv")
    train.add_argument("--out", type=Path, metavar="DIR", help="folder for the heads (default: those of the program)")
    train.add_argument("--folds", type=Path, metavar="DIR", help="folder for the heads of each fold, for tests")
    train.add_argument("--cache", type=Path, default=Path("build/acoustic"), help="where patches are kept")
    train.add_argument("--seed", type=_count, default=5, help="of scenes, synthesis and augmentation (default: 5)")
    incidents = group.add("incidents", _incidents, "what the running city's microphones have heard, newest first")
    incidents.add_argument("--limit", type=_repeats, default=20, help="how many (default: 20, at most 100)")
    incidents.add_argument("--json", action="store_true", help="one JSON object")
    verdict = group.add("verdict", _verdict, "say what an incident was; what was false is raised less easily there")
    verdict.add_argument("incident", type=_count, metavar="INCIDENT", help="its number")
    verdict.add_argument("verdict", choices=tuple(VERDICTS))
    verdict.add_argument("--reason", default="verdict", help="for the journal")
    for one in (incidents, verdict):
        with_lang(one)
        with_site(one)


def _count(text: str) -> int:
    value = int(text)
    if not 0 <= value < 2**31:
        raise argparse.ArgumentTypeError("must be 0…2147483647")
    return value


def _repeats(text: str) -> int:
    value = int(text)
    if not 1 <= value <= 100:
        raise argparse.ArgumentTypeError("must be 1…100")
    return value


def _hours(text: str) -> float:
    value = float(text)
    if not 0.01 <= value <= 2000:
        raise argparse.ArgumentTypeError("must be 0.01…2000")
    return value


def _hours_or_none(text: str) -> float:
    return 0.0 if float(text) == 0.0 else _hours(text)


def _eval(chosen: argparse.Namespace) -> int:
    tool = importlib.import_module(EVAL)
    options = tool.EvalOptions(chosen.clips, chosen.seed, chosen.hours, chosen.repeats, chosen.street_hours)
    try:
        return int(tool.run(options, chosen.json))
    except tool.EvalError as error:
        raise CommandError(str(error)) from None


def _train(chosen: argparse.Namespace) -> int:
    tool = importlib.import_module(TRAIN)
    try:
        return int(tool.run(chosen.clips, chosen.out, chosen.folds, chosen.cache, chosen.seed))
    except tool.TrainError as error:
        raise CommandError(str(error)) from None


def _incidents(chosen: argparse.Namespace) -> int:
    site, run_dir, _info = attached(chosen)
    desk = Desk(site, run_dir, chosen.lang)
    try:
        answer = desk.bus.request(SERVICE, {"op": "incidents", "limit": chosen.limit}, TIMEOUT_MS)
    except (RequestRefusedError, RequestTimeoutError) as error:
        raise CommandError(f"{SERVICE}: {error}") from None
    finally:
        desk.bus.close()
    if chosen.json:
        print(json.dumps(answer, ensure_ascii=False))
        return 0
    english = chosen.lang == "en"
    for one in answer["incidents"]:
        print(line_of(one, f"{desk.time.moment(one['begin_utc_ns']):%m-%d %H:%M:%S}", english))
    if not answer["incidents"]:
        print("no incidents" if english else "사고 없음")
    return 0


def line_of(one: Mapping[str, Any], when: str, english: bool) -> str:
    """An incident in one line."""
    place, at = one["place"], ""
    if place is not None:
        at = f"({place['x_m']:.0f}, {place['y_m']:.0f}) ± {place['semi_major_m']:.0f} m"
    elif one["bearings"]:
        node, bearing = next(iter(one["bearings"].items()))
        at = f"{node} → {math.degrees(bearing['rad']):.0f}°"
    words = [f"{one['incident']:>5}", when, f"{one['class']:<14}", f"{one['confidence']:.2f}", at or "-"]
    words.append(f"{len(one['nodes'])} {'nodes' if english else '지점'}: {','.join(one['nodes'][:4])}")
    if one["merged_into"]:
        words.append(f"= {one['merged_into']}")
    if one["camera"]:
        words.append(f"{one['camera']} #{one['preset']}")
    if one["verdict"]:
        words.append(f"[{one['verdict']}]")
    return "  ".join(words)


def _verdict(chosen: argparse.Namespace) -> int:
    """Select, check and execute the point of the verdict: who says it stands in the journal."""
    site, run_dir, _info = attached(chosen)
    desk = Desk(site, run_dir, chosen.lang)
    point, value = VERDICTS[chosen.verdict], float(chosen.incident)
    try:
        desk.tag(point)
        selected = desk.client.select(point)
        if selected.get("outcome") != "selected":
            return desk.refused(selected)
        checked = desk.client.check(str(selected["select_id"]), value)
        if checked.get("outcome") != "checked":
            desk.client.cancel(str(selected["select_id"]))
            return desk.refused(checked)
        sent = desk.client.execute(selected, value, chosen.reason, checked)
        if sent.get("outcome") not in TAKEN:
            return desk.refused(sent)
    finally:
        desk.bus.close()
    print(f"{chosen.incident}: {chosen.verdict}")
    return 0
