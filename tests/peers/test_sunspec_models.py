"""Every SunSpec model at hand, every point of it: ours and pysunspec2 read the same registers alike."""

from __future__ import annotations

import math
import random
from importlib import resources

import numpy as np
import pytest
from sunspec2.modbus.client import SunSpecModbusClientModel

from gwanje.core.tags.quality import Quality
from gwanje.io.field.modbus.sunspec import model_definition, model_layout
from gwanje.io.field.modbus.sunspec_batch import ModelBatch
from gwanje.io.field.modbus.sunspec_types import TYPES

MODELS = sorted(
    int(one.name[6:-5])
    for one in (resources.files("gwanje.io.field.modbus") / "sunspec_models").iterdir()
    if one.name.endswith(".json")
)
WANTED = {
    1, 101, 102, 103, 111, 112, 113, *range(120, 127), 160, *range(201, 205), *range(211, 215), *range(701, 716), 802,
    803,
}  # fmt: skip
GROUPS = 2
ROUNDS = 5


def by_length(group) -> bool:
    """Whether groups fill the rest of the model's length, with no count."""
    return any(one.get("count") == 0 for one in group.get("groups", []))


def layout_of_two(model: int):
    definition = model_definition(model)
    counts = dict.fromkeys(definition.count_points, GROUPS)
    layout = definition.layout(counts)
    if not by_length(definition.group):
        return layout, counts
    width = sum(
        TYPES[point["type"]].n_registers or int(point["size"])
        for one in definition.group["groups"] if one.get("count") == 0 for point in one["points"]
    )  # fmt: skip
    return definition.layout(counts, layout.length + GROUPS * width), counts


def random_registers(layout, counts, rng: random.Random) -> np.ndarray:
    """Registers of a device that says anything it may: scale factors −10…10 or none, any number, missing ones."""
    data = np.array([rng.choice([rng.randrange(0x10000), 0x8000, 0xFFFF, 0, 1]) for _ in range(layout.n_registers)])
    data[:2] = layout.model_id, layout.length
    for point in layout.points:
        if point.kind == "sunssf":
            data[point.offset] = rng.choice([0x8000, *(one & 0xFFFF for one in range(-10, 11))])
        elif point.name in counts:
            data[point.offset] = GROUPS
        elif TYPES[point.kind].form == "text":
            text = "".join(rng.choice("abc 관") for _ in range(rng.randrange(6))).encode()[: 2 * point.n_registers]
            at = np.frombuffer(text.decode(errors="ignore").encode().ljust(2 * point.n_registers, b"\0"), ">u2")
            data[point.offset : point.offset + point.n_registers] = at
    return data.astype(np.uint16)


def as_pysunspec2_reads(layout, registers: np.ndarray) -> dict[str, tuple[object, object]]:
    """Path → (raw, computed) through pysunspec2."""
    model = SunSpecModbusClientModel(
        model_id=layout.model_id, model_addr=0, model_len=layout.length, data=registers.astype(">u2").tobytes(),
        mb_device=None,
    )  # fmt: skip
    assert not model.error_info, model.error_info
    found: dict[str, tuple[object, object]] = {}

    def walk(group, prefix: str) -> None:
        for name, point in group.points.items():
            found[prefix + name] = (point.value, point.cvalue)
        for name, inner in group.groups.items():
            for i, one in enumerate(inner) if isinstance(inner, list) else [(None, inner)]:
                walk(one, f"{prefix}{name}." if i is None else f"{prefix}{name}[{i}].")

    walk(model, "")
    return found


def test_all_models_that_the_plan_names_are_at_hand():
    assert set(MODELS) >= WANTED


@pytest.mark.parametrize("model", MODELS)
def test_every_point_reads_as_pysunspec2_reads_it(model):
    layout, counts = layout_of_two(model)
    batch = ModelBatch(layout)
    rows = [random_registers(layout, counts, random.Random(f"{model}/{n}")) for n in range(ROUNDS)]
    values, qualities = batch.decode(np.array(rows))
    seen = 0
    for row, found, quality in zip(rows, values, qualities, strict=True):
        expected = as_pysunspec2_reads(layout, row)
        raw = layout.decode_raw(row)
        assert {name: one for name, (one, _) in expected.items() if one == one} == {
            name: one for name, one in raw.items() if name in expected and expected[name][0] == expected[name][0]
        }
        for point, value, bits in zip(batch.points, found.tolist(), quality.tolist(), strict=True):
            theirs, computed = expected[point.name]
            if theirs is None or theirs != theirs:
                assert bits == Quality.BAD | Quality.NOT_IMPLEMENTED, point.name
                assert math.isnan(value), point.name
                continue
            if point.kind in ("float32", "float64") and math.isinf(theirs):
                assert bits & Quality.BAD, point.name
                continue
            seen += 1
            assert value == pytest.approx(float(computed), rel=1e-15), point.name
            unscaled = point.scale_offset is not None and row[point.scale_offset] == 0x8000
            assert bits == (Quality.UNCERTAIN | Quality.CONFIG if unscaled else Quality.GOOD), point.name
    assert seen or not batch.points


def test_the_whole_map_agrees_point_by_point_with_the_layout():
    """The compiled table and the one that engineers use are two readings of one definition."""
    layout = model_layout(701)
    row = random_registers(layout, {}, random.Random(701))
    values, _ = ModelBatch(layout).decode(row[None, :])
    plain = layout.decode(row)
    for name, value in zip(ModelBatch(layout).names, values[0].tolist(), strict=True):
        other = plain[name]
        if other is None and not math.isnan(value):
            other = layout.decode_raw(row)[name]  # without a scale factor the table shows it unscaled, and says so
        assert (math.isnan(value) and other is None) or value == pytest.approx(other, rel=1e-15)
