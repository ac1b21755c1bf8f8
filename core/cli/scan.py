"""``gwanje scan``: which devices answer at a host, and a draft of their configuration."""

from __future__ import annotations

import argparse
import importlib
import json
from pathlib import Path

from gwanje.core.cli.parsing import CommandError, Commands

TOOL = "gwanje.io.field.survey.tool"
"""By name, because core imports no part."""


def add(commands: Commands) -> None:
    """Add the command."""
    scan = commands.add("scan", _scan, "find SunSpec and ONVIF devices at a host of the local network; reads only")
    scan.add_argument("host", metavar="HOST[:PORT|:FIRST-LAST]", help="one host (default port: 502)")
    scan.add_argument("--units", default="1", metavar="IDS", help="Modbus unit ids such as 1,2,5-7 (default: 1)")
    scan.add_argument("--timeout", type=float, default=1.0, metavar="S", help="for each answer (default: 1)")
    scan.add_argument("--write", type=Path, metavar="FILE", help="draft a configuration: devices/NAME.toml of a site")
    scan.add_argument("--area", default="field", help="area in which drafted devices stand (default: field)")
    scan.add_argument("--json", action="store_true")


def _scan(chosen: argparse.Namespace) -> int:
    tool = importlib.import_module(TOOL)
    if not 0.05 <= chosen.timeout <= 10.0:
        raise CommandError(f"--timeout {chosen.timeout:g} is not 0.05 … 10 s")
    try:
        found = tool.scan(chosen.host, chosen.units, chosen.timeout)
        written = tool.write_drafts(found, chosen.write, chosen.area) if chosen.write else []
    except tool.TargetError as error:
        raise CommandError(str(error)) from None
    if chosen.json:
        print(json.dumps({**tool.as_json(found), "written": written}, ensure_ascii=False, indent=1))
    else:
        for line in [*tool.lines(found), *written]:
            print(line)
    return 0 if found.devices or found.cameras else 1
