"""TALQ has no usable peer: all messages of our client and our simulated gateway are held against the schema.

The consortium publishes no gateway, server or test suite that could be run here. So both sides, written apart, talk to
each other through a whole life (announcement, reports, commands, faults), and ``jsonschema``, which neither side uses,
judges every body against TALQ 2.7.1's data model (``io/field/talq/schema.json``, compacted from the official OpenAPI).
"""

import json
from pathlib import Path

import pytest
from street_rig import Rig, free_ports, gateway_text, lamps_text, run

from gwanje.io.field.talq import schema
from gwanje.io.field.talq.link import TalqLink
from gwanje.io.sim.city.lamps_gateway import GatewayServer

jsonschema = pytest.importorskip("jsonschema", reason="peer absent: the validator jsonschema is not installed")

KINDS = {
    ("POST", "/override-commands"): ("OverrideCommand", False), ("POST", "/groups"): ("Group", True),
    ("PUT", "/groups"): ("Group", False), ("POST", "/logger-configs"): ("LoggerConfig", False),
    ("PUT", "/logger-configs"): ("LoggerConfig", False), ("POST", "/devices"): ("Device", True),
    ("POST", "/services"): ("AnyService", True), ("POST", "/device-classes"): ("DeviceClass", True),
    ("POST", "/log-reports"): ("LogReport", False),
}  # fmt: skip
"""What is sent → its schema, and whether it is a list of them."""
ANSWERS = {"/services": ("AnyService", True), "/devices": ("Device", True), "one": ("Device", False),
           "attribute": ("AnyAttribute", False)}  # fmt: skip


def test_every_message_of_both_sides_fits_the_official_schema(tmp_path, monkeypatch):
    definitions = json.loads((Path(schema.__file__).parent / "schema.json").read_text(encoding="utf-8"))["$defs"]
    seen = {}

    def judge(name, many, content):
        validator = jsonschema.Draft202012Validator(
            {"$ref": f"#/$defs/{name}", "$defs": definitions}, format_checker=jsonschema.FormatChecker()
        )
        for one in content if many else [content]:
            validator.validate(one)
        seen[name] = seen.get(name, 0) + 1

    ask, post = TalqLink._ask, GatewayServer._post

    async def heard(self, method, path, query, data):
        reply = await ask(self, method, path, query, data)
        words = path.strip("/").split("/")
        if data is not None:
            judge(*KINDS[method, f"/{words[0]}"], json.loads(data))
        elif words[-1] != "count":
            key = f"/{words[0]}" if len(words) == 1 else "one" if len(words) == 2 else "attribute"
            judge(*ANSWERS[key], reply.content)
        return reply

    async def told(self, method, path, body, address):
        judge(*KINDS[method, path], json.loads(body))
        answer = await post(self, method, path, body, address)
        if answer and path == "/devices":
            judge("Device", True, answer)
        return answer

    monkeypatch.setattr(TalqLink, "_ask", heard)
    monkeypatch.setattr(GatewayServer, "_post", told)

    async def body():
        port, door = free_ports(2)
        text = gateway_text("gw1", "jincheon", port, door) + lamps_text(1, 15, "gw1", "jincheon")
        async with Rig(tmp_path, text) as rig:
            await rig.all_online()
            for n, kind in enumerate(("lamp_failure", "power_low", "comm_failure", "stuck", "old"), 1):
                await rig.fault(f"lamp{n:04}", kind)
            _, zone = rig.order("jincheon.gw1.dim_setpoint_pct", 60)
            _, one = rig.order("jincheon.lamp0009.dim_setpoint_pct", 80)
            await rig.until(lambda: zone and one)
            await rig.until(lambda: rig.value("jincheon.lamp0001.fault") == 1.0)
            rig.coverage.barred.add("jincheon.lamp0009.dim_setpoint_pct")  # ends it: a resume
            await rig.until(lambda: "targetCommand" not in rig.lamps.servers[0].overrides[-1])
            await rig.clear("lamp0003")
            await rig.until(lambda: rig.drivers["lamp0003"].health.online)
            await rig.until(lambda: seen.get("LogReport", 0) > 8)

    run(body)
    wanted = {"OverrideCommand", "Group", "LoggerConfig", "Device", "AnyService", "DeviceClass", "LogReport"}
    assert wanted | {"AnyAttribute"} <= seen.keys()
