"""Fuzz everything: ``python -m tests.fuzz.run --runs 1000000`` or ``make fuzz``.

Each target runs under atheris in a process of its own, and gets its share of the runs. Prints runs, time, coverage,
crashes and wrong GOODs; ends with code 1 when there was a finding. Inputs that found something stay in ``build/fuzz``.
"""

import argparse
import json
import re
import shutil
import struct
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SHARES = {
    "bus": 0.45, "modbus": 0.10, "camera": 0.05, "columns": 0.10, "services": 0.20, "answers": 0.0975, "site": 0.0025,
}  # fmt: skip
"""Of the runs: a frame takes 0.1 ms, a request to the core 0.3 ms, a site's file 20 ms."""
ROW = "{:9} {:>9} {:>7} {:>6} {:>11} {:>8} {:>8} {:>8} {:>8} {:>11}"
STATS = struct.Struct("<6q")


def fuzz(name: str, runs: int, seed: int, folder: Path) -> dict[str, object]:
    """Run one target; returns what came of it."""
    place = folder / name
    corpus, stats = place / "corpus", place / "stats"
    corpus.mkdir(parents=True, exist_ok=True)
    options = [f"-runs={runs}", f"-seed={seed}", "-max_len=8192", "-timeout=20", "-rss_limit_mb=3000",
               f"-artifact_prefix={place}/", "-print_final_stats=1", "-len_control=0"]  # fmt: skip
    began = time.monotonic()
    child = subprocess.Popen(
        [sys.executable, "-m", "tests.fuzz.one", name, str(stats), str(corpus), *options],
        cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace",
    )  # fmt: skip
    log = child.communicate()[0]
    seconds = time.monotonic() - began
    for left in Path("/dev/shm").glob(f"gw-fuzz-{child.pid}-*"):  # libFuzzer ends without a chance to clean up
        shutil.rmtree(left, ignore_errors=True)
    (place / "log").write_text(log, encoding="utf-8")
    edges = [int(one) for one in re.findall(r"cov: (\d+)", log)]
    executed = re.findall(r"stat::number_of_executed_units:\s*(\d+)", log)
    frames, findings, wrong, deep, changed, left = (
        STATS.unpack(stats.read_bytes()) if stats.exists() and stats.stat().st_size else (0, 0, 0, 0, 0, 0)
    )
    crashed = child.returncode != 0
    result: dict[str, object] = {
        "target": name, "runs": int(executed[-1]) if executed else frames, "frames": frames, "seed": seed,
        "seconds": round(seconds, 1), "edges": max(edges, default=0), "corpus": len(list(corpus.iterdir())),
        "taken": deep, "changes": changed, "commands": left,
        "findings": max(findings, int(crashed)), "wrong_goods": wrong,
    }  # fmt: skip
    if crashed:
        found = re.findall(r"^\s*(?:\w+\.)*(?:\w+Error|Finding|WrongGood|\w+Exception)\b.*$", log, re.M)
        result["error"] = (found or [f"see {place / 'log'}"])[0].strip()[:500]
        return result
    lines = subprocess.run([sys.executable, "-m", "tests.fuzz.lines", name, str(corpus)], cwd=ROOT,
                           capture_output=True, text=True)  # fmt: skip
    if lines.returncode == 0:
        told = json.loads(lines.stdout.splitlines()[-1])
        result |= {"lines": told["lines"], "lines_reached": told["reached"], "files": told["files"]}
    else:
        result |= {"findings": 1, "error": (lines.stderr.strip().splitlines() or ["?"])[-1][:500]}
    return result


def main() -> int:
    """Run the targets one after the other."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=1_000_000, help="over all targets (default: a million)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--target", choices=list(SHARES), action="append", help="only these, each with all the runs")
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "fuzz", help="for corpora, logs and findings")
    parser.add_argument("--json", type=Path, metavar="FILE")
    chosen = parser.parse_args()
    shares = dict.fromkeys(chosen.target, 1.0) if chosen.target else SHARES
    results = []
    head = ("target", "runs", "s", "edges", "lines", "taken", "changes", "commands", "findings", "wrong GOODs")
    print(ROW.format(*head), flush=True)
    for name, share in shares.items():
        one = fuzz(name, max(1, int(chosen.runs * share)), chosen.seed, chosen.out)
        results.append(one)
        lines = f"{one.get('lines_reached', '?')}/{one.get('lines', '?')}"
        print(ROW.format(name, one["runs"], one["seconds"], one["edges"], lines, one["taken"], one["changes"],
                         one["commands"], one["findings"], one["wrong_goods"]), flush=True)  # fmt: skip
        if "error" in one:
            print(f"  {one['error']}", flush=True)
    if chosen.json:
        chosen.json.write_text(json.dumps(results, indent=1), encoding="utf-8")
    total = sum(int(one["runs"]) for one in results)
    seconds = sum(float(one["seconds"]) for one in results)
    findings = sum(int(one["findings"]) for one in results)
    print(f"{total} runs in {seconds:.0f} s: {findings} findings, {sum(int(one['wrong_goods']) for one in results)} "
          f"wrong GOODs")  # fmt: skip
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())
