"""The default site's copy with the switch on: what ``microgrid/city`` holds stands where a site's files stand."""

import shutil
from pathlib import Path

LIVE_BUS = "grid.breaker.closed == 0 and grid.tie.voltage_v > 2000"
"""On the simple plant, whose tie meter is dead behind an open breaker; on the microgrid it is the utility's."""
LIVE_BUS_THERE = (
    "grid.breaker.closed == 0 and grid.bus.voltage_v > 2000 and"
    " (grid.breaker.slip_hz > 0.1 or grid.breaker.slip_hz < -0.1)"
)


def with_microgrid(site: Path) -> Path:
    """Turn a copied site's switch on."""
    for path in (site / "microgrid" / "city").rglob("*.toml"):
        target = site / path.relative_to(site / "microgrid" / "city")
        target.parent.mkdir(exist_ok=True)
        shutil.copy(path, target)
    head = site / "site.toml"
    head.write_text(head.read_text(encoding="utf-8") + '\n[sim]\nplant = "microgrid"\n', encoding="utf-8")
    operations = site / "operations.toml"
    text = operations.read_text(encoding="utf-8")
    assert LIVE_BUS in text
    operations.write_text(text.replace(LIVE_BUS, LIVE_BUS_THERE), encoding="utf-8")
    return site
