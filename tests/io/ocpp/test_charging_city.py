"""The whole city with its hundred chargers: all there soon, and their groups within their limits."""

from __future__ import annotations

import json


def test_a_hundred_chargers_come_online_and_share_their_limits(start_city):
    city = start_city("--for", "100", families=["charging"])
    city.wait_for(lambda line: "t_s" in line, 40)

    def family() -> dict:
        city.wait_for(lambda line: "t_s" in line, 20)
        return next(one for one in city.status()["families"] if one["part"] == "charging")

    def values(pattern: str) -> dict[str, float]:
        answer = city.cli("tags", pattern, "--json")
        assert answer.returncode == 0, answer.stderr
        return {one["name"]: one["value"] for one in json.loads(answer.stdout)}

    for _ in range(40):
        if (found := family())["online"] == 105:
            break
    assert (found["devices"], found["online"]) == (105, 105)
    for _ in range(40):
        groups = values("charging.group?.*")
        if groups["charging.group1.allotted_w"] <= 250_000 and groups["charging.group0.load_w"]:
            break
        city.wait_for(lambda line: "t_s" in line, 20)
    for n, limit_w in enumerate((400_000, 250_000, 200_000, 3_000)):
        assert groups[f"charging.group{n}.allotted_w"] <= limit_w
        assert groups[f"charging.group{n}.limit_w"] == limit_w
        assert groups[f"charging.group{n}.overcommitted"] == 0
    assert groups["charging.group1.sessions"] > 10
    city.stop()
    assert not [one for one in city.errors if "charging" in one or "simcity" in one], city.errors
