"""What ``gwanje check`` asks of io: do the points exist in the models, do the twins and the script make sense."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from gwanje.core.site.config import Device, Site
from gwanje.core.site.device_problems import DeviceProblems
from gwanje.core.site.devices import REGISTER_DRIVERS
from gwanje.core.site.toml_reader import KeyPath
from gwanje.io.field.bacnet import check as bacnet_check
from gwanje.io.field.dlms import check as dlms_check
from gwanje.io.field.meter_file import check as meter_file_check
from gwanje.io.field.modbus import check as modbus_check
from gwanje.io.field.modbus.sunspec import ModelError, is_known, model_layout
from gwanje.io.field.ntcip import check as ntcip_check
from gwanje.io.field.ocpp import check as ocpp_check
from gwanje.io.field.onvif import check as onvif_check
from gwanje.io.field.street import check as street_check
from gwanje.io.field.survey.units import our_unit
from gwanje.io.sim import street
from gwanje.io.sim.main import is_loopback
from gwanje.io.sim.microphones import node_problems
from gwanje.io.sim.twins import TwinError, TwinSpec, twin_params

Found = tuple[str, KeyPath, str]


Check = Callable[[Sequence[Device]], Iterable[tuple[Device, KeyPath, str]]]
"""What is wrong with devices: each with the key path below it, such as ``("point", 3, "at", "slot")``, and why."""

FAMILY_CHECKS: Mapping[str, Check] = {
    "sunspec": modbus_check.problems,
    "registers": modbus_check.problems,
    "bacnet": bacnet_check.problems,
    "ntcip": ntcip_check.problems,
    "dlms": dlms_check.problems,
    "meter_file": meter_file_check.problems,
    "ocpp": ocpp_check.problems,
    "onvif": onvif_check.problems,
    "talq": street_check.problems,
    "mqtt": street_check.problems,
}
"""Driver → the check of its ``params``, ``at`` and ``twin``; it gets all devices of the driver."""


def problems(site: Site) -> list[Found]:
    """Every problem as (file, key path, reason)."""
    told = DeviceProblems()
    for device in site.devices:
        if device.driver == "sunspec":
            for path, reason in _sunspec_points(site, device):
                told.add(device, path, reason)
        if device.twin is not None:
            for path, reason in _twin(site, device):
                told.add(device, path, reason)
    for driver, check in FAMILY_CHECKS.items():
        for device, path, reason in check([one for one in site.devices if one.driver == driver]):
            told.add(device, path, reason)
    found = [(file.partition("/")[2], path, reason) for file, path, reason in told.found()]
    found += dict.fromkeys(  # of a fleet, what is wrong with all of its nodes is said once
        (node.source, (*node.path, key), reason) for node in site.nodes for key, reason in node_problems(node)
        if node.simulated
    )  # fmt: skip
    found += _script(site)
    return found


def _twin(site: Site, device: Device) -> Iterator[tuple[KeyPath, str]]:
    """What a simulated device cannot be; families beyond Modbus check their twins themselves."""
    assert device.twin is not None
    if device.driver in REGISTER_DRIVERS:
        try:
            twin_params(TwinSpec(device.name, device.area, device.twin.kind, device.twin.params))
        except TwinError as error:
            yield ("twin",), str(error)
        if device.twin.kind == "grid_device" and site.sim_plant != "microgrid":
            yield (
                ("twin", "kind"),
                f'twins of kind {device.twin.kind!r} need plant = "microgrid" under [sim] in site.toml',
            )
    if device.host and not is_loopback(device.host):
        yield ("host",), f"a simulated device listens on loopback only, not on {device.host!r}"


def _sunspec_points(site: Site, device: Device) -> Iterator[tuple[KeyPath, str]]:
    """Points, set-points and enabling points that no model defines, or that come in another unit than their tag."""
    for index, point in enumerate(device.points):
        reason = _missing(point.model, point.name) or _other_unit(site, point.tag, point.model, point.name, point.scale)
        if reason:
            yield ("point", index, "name"), reason
    written = [("setpoint", index, one) for index, one in enumerate(device.setpoints)]
    written += [("command", index, one) for index, one in enumerate(device.commands)]
    for key, index, setpoint in written:
        reason = _missing(setpoint.model, setpoint.name)
        if not reason and not model_layout(setpoint.model).point(setpoint.name).writable:
            reason = f"model {setpoint.model} point {setpoint.name!r} cannot be written"
        if reason:
            yield (key, index, "name"), reason
        for row, (model, name, _value) in enumerate(setpoint.enable):
            if reason := _missing(model, name):
                yield (key, index, "enable", row, "name"), reason


def _missing(model: int, name: str) -> str:
    if not is_known(model):
        return f"SunSpec model {model} is not among the models in io/field/modbus/sunspec_models"
    try:
        model_layout(model).point(name)
    except (ModelError, KeyError):
        return f"SunSpec model {model} has no point {name!r}"
    return ""


def _other_unit(site: Site, tag: str, model: int, name: str, scale: float) -> str:
    unit = model_layout(model).point(name).unit
    unit = unit if (ours := our_unit(unit)) is None else ours
    wanted = site.tags.get(tag).unit
    if scale != 1.0 or not unit or unit.lower() == wanted.lower() or (unit == "%" and wanted == ""):
        return ""
    return f"wrong unit: model {model} point {name!r} is in {unit!r}, tag {tag!r} in {wanted!r}, and there is no scale"


def _script(site: Site) -> Iterator[Found]:
    nodes = [node.name for node in site.nodes if node.simulated]
    for index, table in enumerate(site.node_script):
        try:
            street.parse_script([table], nodes)
        except street.SoundError as error:
            yield "nodes.toml", ("script", index), str(error).partition(": ")[2].partition(": ")[2]
