"""The grammar of display values."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gwanje.core.expression import ExpressionError, compile_expression
from gwanje.core.tags import Tag, TagTable

TABLE = TagTable.build(
    [Tag(name, unit, "field") for name, unit in
     (("a.b.power_w", "W"), ("a.c.power_w", "W"), ("a.d.power_w", "W"), ("a.b.soc", ""), ("a.b.volt_v", "V"))]
)  # fmt: skip


@pytest.mark.parametrize(
    ("text", "values", "result", "unit"),
    [
        ("a.b.power_w", [3.0], 3.0, "W"),
        ("-a.b.power_w", [3.0], -3.0, "W"),
        ("a.b.power_w + a.c.power_w - a.d.power_w", [1.0, 2.0, 4.0], -1.0, "W"),
        ("a.b.power_w + a.c.power_w * 2", [1.0, 2.0], 5.0, "W"),
        ("(a.b.power_w + a.c.power_w) * 2", [1.0, 2.0], 6.0, "W"),
        ("a.b.power_w / a.c.power_w", [1.0, 4.0], 0.25, ""),
        ("a.b.soc * a.b.power_w", [0.5, 4.0], 2.0, "W"),
        ("1.5e-3 * a.b.power_w", [2000.0], 3.0, "W"),
        ("max(a.b.power_w, -a.b.power_w)", [-7.0], 7.0, "W"),
        ("sum(a.*.power_w)", [1.0, 2.0, 4.0], 7.0, "W"),
        ("min(a.?.power_w, 3)", [1.0, 2.0, 4.0], 1.0, "W"),
        ("max(a.b.power_w, -a.b.power_w) / site.rating_w", [-5.0], 0.5, ""),
    ],
)
def test_values_and_units(text, values, result, unit):
    compiled = compile_expression(text, TABLE, {"site.rating_w": (10.0, "W")})
    assert compiled.evaluate(values) == pytest.approx(result)
    assert compiled.unit == unit


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "ends too early"),
        ("a.b.power_w +", "ends too early"),
        ("a.b.power_w a.c.power_w", "unexpected 'a.c.power_w'"),
        ("a.b.nothing", "missing tag 'a.b.nothing'"),
        ("a.b.power_w + a.b.volt_v", "'W' and 'V' do not add up"),
        ("a.b.power_w * a.b.volt_v", "'W' times 'V'"),
        ("a.b.power_w / a.b.volt_v", "'W' divided by 'V'"),
        ("sum(z.*.power_w)", "no tag matches"),
        ("a.*.power_w", "stands outside"),
        ("3 + 4", "uses no tag"),
        ("__import__('os')", "cannot read"),
        ("(a.b.power_w", "ends too early"),
        ("sum()", "unexpected"),
    ],
)
def test_what_is_wrong_is_said(text, reason):
    with pytest.raises(ExpressionError, match=reason.replace("(", r"\(").replace("*", r"\*")):
        compile_expression(text, TABLE)


def test_division_by_zero_and_nan_have_no_answer():
    assert math.isnan(compile_expression("a.b.power_w / a.c.power_w", TABLE).evaluate([1.0, 0.0]))
    assert math.isnan(compile_expression("max(a.b.power_w, a.c.power_w)", TABLE).evaluate([math.nan, 1.0]))


@given(st.text(alphabet="ab.c_w*?()+-/ ,1e9minsu", max_size=40))
def test_no_text_does_anything_but_compile_or_be_refused(text):
    try:
        compiled = compile_expression(text, TABLE)
    except ExpressionError:
        return
    assert set(compiled.tags) <= set(TABLE.ids)
