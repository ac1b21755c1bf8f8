"""The rules that hold the code together, read from the sources: imports go one way, each library has one home."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
ALLOWED = {
    "ext": set(),
    "core": {"ext"},
    "control": {"core", "ext"},
    "io": {"core", "ext"},
    "historian": {"core", "ext"},
    "hmi": {"core", "ext"},
}
HOMES = {
    "zmq": {"core"},
    "msgpack": {"core"},
    "PySide6": {"hmi"},
    "pyqtgraph": {"hmi"},
    "influxdb_client": {"historian"},
    "pyarrow": {"historian"},
    "duckdb": {"historian"},
    "pymodbus": {"io"},
    "av": {"io"},
    "ocpp": {"io"},
    "websockets": {"io"},
    "socket": {"io"},
    "ai_edge_litert": {"control"},
    "sqlite3": {"core", "historian"},
}
"""Library → parts that may import it; what must start its own servers for a peer's sake stands in EXCUSED."""
EXCUSED = {("historian/victoria.py", "socket")}

ZEROMQ_BEYOND = ("core/remote/", "core/benches/")
"""Besides core/bus/bus.py: what leaves the machine with CURVE, and what measures raw sockets beside the bus."""

BANNED = {
    ("time", "time"): "clock.utc_ns()",
    ("time", "time_ns"): "clock.utc_ns()",
    ("time", "monotonic"): "clock.mono_ns()",
    ("time", "monotonic_ns"): "clock.mono_ns()",
    ("time", "perf_counter"): "clock.mono_ns()",
    ("time", "sleep"): "clock.wait_until_mono_ns()",
    ("datetime", "now"): "clock.utc_ns()",
    ("datetime", "utcnow"): "clock.utc_ns()",
}
"""Calls that only core/clock.py may make, with what to write instead."""


def sources(*parts):
    for part in parts:
        for path in sorted((ROOT / part).rglob("*.py")):
            yield path, ast.parse(path.read_text(encoding="utf-8"))


def imported(tree):
    """(line, dotted module) of every import, also those inside functions."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for one in node.names:
                yield node.lineno, one.name
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: relative import"
            yield node.lineno, node.module
            if node.module == "gwanje":
                for one in node.names:
                    yield node.lineno, f"gwanje.{one.name}"


@pytest.mark.parametrize("part", ALLOWED)
def test_imports_go_one_way(part):
    wrong = []
    for path, tree in sources(part):
        for line, module in imported(tree):
            words = module.split(".")
            if words[0] in ALLOWED and words[0] != "io":
                wrong.append(f"{path.relative_to(ROOT)}:{line}: import gwanje.{module}, not {module}")
            if words[0] == "gwanje" and len(words) > 1 and words[1] in ALLOWED:
                target = words[1]
                if target != part and target not in ALLOWED[part]:
                    wrong.append(f"{path.relative_to(ROOT)}:{line}: {part} may not import {target}")
    assert not wrong, "\n".join(wrong)


def test_each_library_has_one_home():
    wrong = []
    for path, tree in sources(*ALLOWED):
        place = path.relative_to(ROOT).as_posix()
        for line, module in imported(tree):
            top = module.split(".")[0]
            if top in HOMES and place.split("/")[0] not in HOMES[top] and (place, top) not in EXCUSED:
                wrong.append(f"{place}:{line}: {top} belongs to {', '.join(sorted(HOMES[top]))}")
    assert not wrong, "\n".join(wrong)


def test_only_ext_holds_kernels_and_few_open_zeromq():
    stray = [path for path in ROOT.rglob("*.pyx") if path.parent.name != "ext" and "build" not in path.parts]
    assert not [one for one in stray if ".venv" not in one.parts]
    users = [path for path, tree in sources(*ALLOWED) if any(m.split(".")[0] == "zmq" for _, m in imported(tree))]
    places = {path.relative_to(ROOT).as_posix() for path in users}
    assert "core/bus/bus.py" in places
    wrong = {place for place in places if place != "core/bus/bus.py" and not place.startswith(ZEROMQ_BEYOND)}
    assert not wrong


def calls(tree):
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            value = node.func.value
            if isinstance(value, ast.Name):
                yield node.lineno, value.id, node.func.attr


def test_only_the_clock_reads_clocks():
    wrong = []
    for path, tree in sources(*ALLOWED):
        if path.relative_to(ROOT).as_posix() == "core/clock.py":
            continue
        wrong += [
            f"{path.relative_to(ROOT)}:{line}: {module}.{name}(): use {BANNED[(module, name)]}"
            for line, module, name in calls(tree)
            if (module, name) in BANNED
        ]
        wrong += [
            f"{path.relative_to(ROOT)}:{line}: import of clock functions"
            for node in ast.walk(tree)
            if isinstance(node, ast.ImportFrom) and node.module == "time"
            for line in [node.lineno]
        ]
    assert not wrong, "\n".join(wrong)


def test_tests_do_not_sleep():
    wrong = [
        f"{path.relative_to(ROOT)}:{line}"
        for path, tree in sources("tests")
        for line, module, name in calls(tree)
        if (module, name) == ("time", "sleep")
    ]
    assert not wrong, "\n".join(wrong)


def test_nothing_is_evaluated_or_swallowed():
    wrong = []
    for path, tree in sources(*ALLOWED):
        where = path.relative_to(ROOT)
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ("eval", "exec"):
                wrong.append(f"{where}:{node.lineno}: {node.func.id}()")
            if isinstance(node, ast.ExceptHandler):
                broad = node.type is None or (
                    isinstance(node.type, ast.Name) and node.type.id in ("Exception", "BaseException")
                )
                silent = all(isinstance(one, (ast.Pass, ast.Continue)) for one in node.body)
                reraises = any(isinstance(one, ast.Raise) for one in ast.walk(node))
                if broad and (silent or (node.type is None and not reraises)):
                    wrong.append(f"{where}:{node.lineno}: swallowed error")
    assert not wrong, "\n".join(wrong)


def test_no_module_holds_mutable_state():
    """Module-level names bound to a fresh list, set or dict must be constants by name."""
    wrong = []
    for path, tree in sources(*ALLOWED):
        for node in tree.body:
            targets = node.targets if isinstance(node, ast.Assign) else []
            if isinstance(node, ast.AnnAssign) and node.value is not None:
                targets = [node.target]
            value = getattr(node, "value", None)
            if isinstance(value, (ast.List, ast.Dict, ast.Set)):
                wrong += [
                    f"{path.relative_to(ROOT)}:{node.lineno}: {one.id}"
                    for one in targets
                    if isinstance(one, ast.Name) and not one.id.isupper() and one.id != "__all__"
                    and not one.id.lstrip("_").isupper()
                ]
    assert not wrong, "\n".join(wrong)
