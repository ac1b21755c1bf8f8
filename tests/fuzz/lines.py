"""Lines of the core that a corpus reaches: ``python -m tests.fuzz.lines TARGET CORPUS`` prints JSON.

Every input of the corpus is run once more under a tracer; a line counts as one when the compiler made code for it.
"""

import json
import sys
import types
from pathlib import Path

WATCHED = {
    "bus": tuple(f"core/bus/{name}.py" for name in ("wire", "streams", "msgpack_map", "scan", "messages")),
    "services": (
        "core/bus/msgpack_map.py", "core/requests.py", "core/bus/snapshot.py", "core/event_memory.py",
        "core/tags/service.py", "core/alarms/service.py", "core/alarms/operations.py", "core/authority/service.py",
        "core/authority/authority.py", "core/authority/areas.py", "core/authority/sessions.py",
        "core/commands/server.py", "core/commands/operating.py", "core/commands/checks.py",
        "core/commands/ground.py", "core/commands/lease_desk.py", "core/commands/safety_desk.py",
        "core/commands/leases.py", "core/commands/messages.py", "core/overrides/service.py", "core/remote/rules.py",
    ),
    "modbus": ("ext/reference/modbus_poller.py", "io/field/modbus/points.py"),
    "columns": ("core/bus/scan.py", "ext/reference/columns.py"),  # the kernel is compiled: its twin is what has lines
    "answers": ("core/bus/msgpack_map.py", "core/bus/scan.py", "core/bus/snapshot.py"),
    "site": ("core/site/config.py", "core/site/toml_reader.py", "core/site/toml_lines.py", "core/remote/settings.py"),
}  # fmt: skip
"""Target → the files whose readers it is there to try."""
ROOT = Path(__file__).resolve().parents[2]


def code_lines(path: Path) -> set[int]:
    """Lines of the functions in a file; what runs at import alone is left out."""
    found: set[int] = set()
    waiting = [compile(path.read_text(encoding="utf-8"), str(path), "exec")]
    top = True
    while waiting:
        code = waiting.pop()
        if not top and code.co_flags & 0x2:  # a function, not the body of a class
            found |= {line for _a, _b, line in code.co_lines() if line and line != code.co_firstlineno}
        top = False
        waiting += [one for one in code.co_consts if isinstance(one, types.CodeType)]
    return found


def main() -> None:
    """Run the corpus and print what was reached."""
    name, corpus = sys.argv[1:]
    from tests.fuzz.targets import TARGETS

    watched = {str(ROOT / one): one for one in WATCHED[name] if (ROOT / one).exists()}
    reached: dict[str, set[int]] = {one: set() for one in watched.values()}

    def trace(frame: types.FrameType, event: str, _argument: object) -> object:
        place = watched.get(frame.f_code.co_filename)
        if place is None:
            return None
        if event == "line":
            reached[place].add(frame.f_lineno)
        return trace

    target = TARGETS[name]()
    seeds = target.seeds()
    sys.settrace(trace)
    try:
        for data in [*seeds, *(path.read_bytes() for path in sorted(Path(corpus).iterdir()))]:
            target.run(data)
    finally:
        sys.settrace(None)
        target.close()
    totals = {place: len(code_lines(ROOT / place)) for place in reached}
    hit = {place: len(lines & code_lines(ROOT / place)) for place, lines in reached.items()}
    print(json.dumps({"lines": sum(totals.values()), "reached": sum(hit.values()),
                      "files": {place: [hit[place], totals[place]] for place in reached}}))  # fmt: skip


if __name__ == "__main__":
    main()
