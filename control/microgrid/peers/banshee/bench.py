"""``gwanje bench banshee``: half an hour of three feeders with three islandings, scored in dollars."""

from __future__ import annotations

from dataclasses import dataclass

from gwanje.control.microgrid.peers.banshee.controller import Controller, measured_dark
from gwanje.control.microgrid.peers.banshee.hindsight import hindsight
from gwanje.control.microgrid.peers.banshee.network import Network
from gwanje.control.microgrid.peers.banshee.plant import Command, State, begin, step
from gwanje.control.microgrid.peers.banshee.scorecard import PUBLISHED, Scorecard
from gwanje.control.microgrid.peers.banshee.site import Site, read_site
from gwanje.core.bench import BenchOptions, Result, result
from gwanje.core.clock import SystemClock

DT_S = 0.1
PCT = 100.0
NS_PER_S = 1e9
CAVEAT = "published of a run that cannot be replayed: other plant, network and protection"


@dataclass(frozen=True, slots=True)
class Run:
    """What came of one half hour."""

    shares: dict[str, float]
    bill: dict[str, float]
    last: State
    decision_s: float


def run_sequence(site: Site, controlled: bool = True, until_s: float | None = None, dt_s: float = DT_S) -> Run:
    """The test sequence with our controller, or with none: the site then only follows the grid."""
    clock = SystemClock()
    network, controller, card = Network(site), Controller(site), Scorecard(site)
    state, moment = begin(site), measured_dark(len(site.loads))
    all_on, none = (True,) * len(site.loads), (False,) * len(site.loads)
    n = round((until_s if until_s is not None else site.sequence["length_s"]) / dt_s)
    spent = 0.0
    for one in range(n):
        world = site.world(one * dt_s)
        started = clock.mono_ns()
        command = controller.decide(state, moment, world) if controlled else Command(world.grid_up, all_on, none)
        spent += (clock.mono_ns() - started) / NS_PER_S
        after, moment = step(site, network, state, command, world, dt_s)
        card.moment(state, after, moment, world, dt_s)
        state = after
    return Run(card.shares(), card.close(state), state, spent / n)


def run(options: BenchOptions) -> list[Result]:
    """All of the area."""
    site = read_site()
    ours, none, best = run_sequence(site), run_sequence(site, controlled=False), hindsight(site)
    shares, vendors = ours.shares, list(PUBLISHED.values())
    found = []
    names = (("C", "critical", "<= 11"), ("P", "priority", None), ("I", "interruptible", None))
    for key, name, goal in names:
        found.append(
            result(
                f"banshee.{name}_unserved", shares[key] * PCT, "%", rounds=1, goal=goal, peer="hindsight",
                peer_value=best.unserved[key] * PCT, note=_beside(key) + f"; no controller {none.shares[key]:.1%}",
            )
        )  # fmt: skip
    for key, goal in (("import", ">= 99.9"), ("export", ">= 99.9"), ("power_factor", ">= 95")):
        found.append(
            result(f"banshee.{key}_met", shares[key] * PCT, "% of time", rounds=1, goal=goal, note=_beside(key))
        )
    found += [
        result("banshee.deviation_over_5pct", shares["deviation"] * PCT, "% of time", rounds=1, goal="<= 2",
               note=_beside("deviation") + "; worst bus"),
        result("banshee.pv", shares["pv_kwh"], "kWh", rounds=1, note=f"published: {vendors[0]['pv_kwh']:.0f} and "
               f"{vendors[1]['pv_kwh']:.0f} kWh; {CAVEAT}"),
        result("banshee.score", ours.bill["total"], "$", rounds=1, peer="hindsight", peer_value=best.dollars,
               ratio=(ours.bill["total"] - none.bill["total"]) / (best.dollars - none.bill["total"]),
               note="; ".join(f"{name} {value:.0f}" for name, value in sorted(ours.bill.items()) if name != "total")
               + f"; no controller {none.bill['total']:.0f} $; the ratio is the way from there to hindsight"),
        result("banshee.decision", ours.decision_s * 1e6, "us", rounds=1, note="mean of every 0.1 s"),
    ]  # fmt: skip
    return found


def _beside(key: str) -> str:
    shown = " and ".join(f"{one[key]:.1%}" for one in PUBLISHED.values())
    return f"vendors {shown}; {CAVEAT}"
