"""``gwanje safety``: safety tags that people hang on points, devices and areas; ``gwanje gate``: the read-only gate."""

from __future__ import annotations

import argparse
import json
import re

from gwanje.core.cli.operate import Desk
from gwanje.core.cli.parsing import Commands, attached, with_site
from gwanje.core.cli.speech import with_lang
from gwanje.core.commands.safety_tags import REVIEW_S_DEFAULT, SafetyKind

LENGTH = re.compile(r"(\d+(?:\.\d+)?)(s|m|min|h)?")
SECONDS = {"": 1.0, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0}


def add(commands: Commands) -> None:
    """Add the groups."""
    safety = commands.group("safety", "safety tags: danger, caution, information, maintenance")
    place = safety.add("place", _place, "hang a tag")
    remove = safety.add("remove", _remove, "take a tag off: who hung it, or a supervisor")
    listed = safety.add("list", _list, "all that hang")
    place.add_argument("scope", metavar="SCOPE", help="a point, a device (grid.breaker) or a pattern ('grid.*')")
    place.add_argument("kind", choices=[str(one) for one in SafetyKind])
    place.add_argument(
        "--review", type=_length, default=REVIEW_S_DEFAULT, metavar="TIME", help="at most 24h (default: 8h)"
    )
    remove.add_argument("tag_id", metavar="TAG_ID")
    gate = commands.group("gate", "the site's read-only gate")
    opened = gate.add("open", _open, "commands are taken again (supervisors)")
    closed = gate.add("close", _close, "nothing is written to the field; leases end (supervisors)")
    for one in (place, remove, opened, closed):
        one.add_argument("--reason", required=True, help="for the journal")
    listed.add_argument("--json", action="store_true")
    for one in (place, remove, listed, opened, closed):
        with_lang(one)
        with_site(one)


def _length(text: str) -> float:
    found = LENGTH.fullmatch(text)
    if not found:
        raise argparse.ArgumentTypeError("must be a time such as 90s, 30m or 2h")
    return float(found[1]) * SECONDS[found[2] or ""]


def _desk(chosen: argparse.Namespace) -> Desk:
    site, run_dir, _info = attached(chosen)
    return Desk(site, run_dir, chosen.lang)


def _place(chosen: argparse.Namespace) -> int:
    desk = _desk(chosen)
    answer = desk.client.place_tag(chosen.scope, chosen.kind, chosen.reason, chosen.review)
    if answer.get("outcome") != "done":
        return desk.refused(answer)
    tag = answer["safety_tag"]
    print(f"{tag['kind']} {tag['scope']}  {tag['tag_id']}  ~{desk.time.minute(tag['review_utc_ns'])}")
    return 0


def _remove(chosen: argparse.Namespace) -> int:
    desk = _desk(chosen)
    answer = desk.client.remove_tag(chosen.tag_id, chosen.reason)
    if answer.get("outcome") != "done":
        return desk.refused(answer)
    print(f"- {answer['safety_tag']['kind']} {answer['safety_tag']['scope']}")
    return 0


def _list(chosen: argparse.Namespace) -> int:
    desk = _desk(chosen)
    answer = desk.client.safety_tags()
    if "safety_tags" not in answer:
        return desk.refused(answer)
    if chosen.json:
        print(json.dumps(answer, ensure_ascii=False))
        return 0
    for one in answer["safety_tags"]:
        late = "  !" if one["overdue"] else ""
        review = desk.time.minute(one["review_utc_ns"])
        what = f"{one['kind']:<12} {one['scope']:<32} {one['author']:<12} ~{review}{late}"
        print(f"{what}  {one['reason']}  {one['tag_id']}")
    if not answer["safety_tags"]:
        print(desk.word("nothing"))
    return 0


def _gate(chosen: argparse.Namespace, read_only: bool) -> int:
    desk = _desk(chosen)
    answer = desk.client.gate(read_only, chosen.reason)
    if answer.get("outcome") != "released":
        return desk.refused(answer)
    words = ("현장 쓰기 차단", "read only") if read_only else ("명령 허용", "commands allowed")
    print(words[0 if chosen.lang == "ko" else 1])
    return 0


def _open(chosen: argparse.Namespace) -> int:
    return _gate(chosen, False)


def _close(chosen: argparse.Namespace) -> int:
    return _gate(chosen, True)
