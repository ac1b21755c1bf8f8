"""The grammar of display values."""

import math
import pickle
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gwanje.core.tags.expression import (
    DEPTH_MAX,
    TAGS_MAX,
    TEXT_MAX,
    ExpressionError,
    compile_condition,
    compile_expression,
)
from gwanje.core.tags.quality import Quality
from gwanje.core.tags.store import Snapshot
from gwanje.core.tags.table import Tag, TagTable

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
        ("abs(a.b.power_w - a.c.power_w)", [1.0, 3.0], 2.0, "W"),
        ("a.b.power_w / a.c.power_w / 2 * a.d.power_w", [8.0, 2.0, 3.0], 6.0, "W"),
        ("if(a.b.power_w > 0, a.b.power_w, 0)", [-3.0], 0.0, "W"),
        ("if(a.b.power_w > 0, a.b.power_w, 0)", [3.0], 3.0, "W"),
        ("if(a.b.soc >= 0.5 and not a.b.volt_v < 200, 1, 2)", [0.5, 220.0], 1.0, ""),
        ("a.b.power_w > 2 or a.b.soc == 1", [1.0, 1.0], 1.0, ""),
        ("not (a.b.power_w > 2 or a.b.soc != 1)", [1.0, 1.0], 1.0, ""),
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
        ("a.b.power_w > a.b.volt_v", "'W' and 'V' do not compare"),
        ("max(a.b.power_w, a.b.volt_v)", "'W' and 'V' do not compare"),
        ("if(a.b.soc > 1, a.b.power_w, a.b.volt_v)", "do not stand beside each other"),
        ("if(a.b.soc > 1, a.b.power_w, a.b.soc > 0)", "truth on the other"),
        ("if(a.b.soc, 1, 2)", "'if' needs a comparison"),
        ("if(a.b.soc > 1, 1)", "expected ','"),
        ("1 < a.b.soc < 2", "join comparisons with and"),
        ("(a.b.soc > 1) + 1", "truth is no number"),
        ("-(a.b.soc > 1)", "truth is no number"),
        ("a.b.soc * (a.b.soc > 1)", "truth is no number"),
        ("abs(a.b.soc > 1)", "expected ')', found '>'"),
        ("(a.b.soc > 1) == (a.b.soc > 2)", "truth is no number"),
        ("a.b.soc and a.b.soc > 1", "'and' needs a comparison"),
        ("not a.b.soc", "'not' needs a comparison"),
        ("a.b.soc = 1", "cannot read"),
        ("(" * (DEPTH_MAX + 1) + "a.b.soc" + ")" * (DEPTH_MAX + 1), "nested deeper than 32"),
        ("-" * (DEPTH_MAX + 1) + "a.b.soc", "nested deeper than 32"),
        ("not " * (DEPTH_MAX + 1) + "a.b.soc > 1", "nested deeper than 32"),
        ("a.b.soc" + " " * TEXT_MAX, "at most 2000 are taken"),
    ],
)
def test_what_is_wrong_is_said(text, reason):
    with pytest.raises(ExpressionError, match=re.escape(reason)):
        compile_expression(text, TABLE)


def test_division_by_zero_and_nan_have_no_answer():
    assert math.isnan(compile_expression("a.b.power_w / a.c.power_w", TABLE).evaluate([1.0, 0.0]))
    assert math.isnan(compile_expression("max(a.b.power_w, a.c.power_w)", TABLE).evaluate([math.nan, 1.0]))


def test_what_is_as_long_and_deep_as_allowed_is_computed():
    chain = "a.b.soc" + "+1" * ((TEXT_MAX - 7) // 2)
    assert compile_expression(chain, TABLE).evaluate([0.5]) == 0.5 + (TEXT_MAX - 7) // 2
    deep = "(" * DEPTH_MAX + "a.b.soc" + ")" * DEPTH_MAX
    assert compile_expression(deep, TABLE).evaluate([0.5]) == 0.5


def test_a_pattern_of_too_many_tags_is_refused():
    many = TagTable.build(Tag(f"a.b.t{number}", "W", "field") for number in range(TAGS_MAX + 1))
    with pytest.raises(ExpressionError, match="more than 1024 tags"):
        compile_expression("sum(a.b.*)", many)


def moment(**samples):
    """All tags with a value of one; ``name=(value, quality)`` for some, dots as two underscores."""
    snapshot = Snapshot.empty(TABLE.n)
    snapshot.value[:] = 1.0
    for name, (value, quality) in samples.items():
        index = TABLE.index(name.replace("__", "."))
        snapshot.value[index], snapshot.quality[index] = value, quality
    return snapshot


BAD = int(Quality.BAD | Quality.COMM)


@pytest.mark.parametrize(
    ("text", "soc", "volt", "holds"),
    [
        ("a.b.soc > 0.5", (0.6, 0), (1.0, 0), True),
        ("a.b.soc > 0.5", (0.5, 0), (1.0, 0), False),
        ("a.b.soc > 0.5", (0.6, int(Quality.UNCERTAIN)), (1.0, 0), True),
        ("a.b.soc > 0.5", (0.6, BAD), (1.0, 0), None),
        ("not a.b.soc > 0.5", (0.6, BAD), (1.0, 0), None),
        ("a.b.soc > 0.5", (math.nan, 0), (1.0, 0), None),
        ("a.b.soc > 0.5 and a.b.volt_v > 0.5", (0.6, BAD), (1.0, 0), None),
        ("a.b.soc > 0.5 and a.b.volt_v > 0.5", (0.6, BAD), (0.1, 0), False),
        ("a.b.soc > 0.5 or a.b.volt_v > 0.5", (0.6, BAD), (1.0, 0), True),
        ("a.b.soc > 0.5 or a.b.volt_v > 0.5", (0.6, BAD), (0.1, 0), None),
        ("if(a.b.soc > 0.5, a.b.volt_v > 0, a.b.volt_v > 0)", (0.6, BAD), (1.0, 0), None),
        ("max(a.b.soc, 3) > 0.5", (0.6, BAD), (1.0, 0), None),
    ],
)
def test_a_condition_holds_does_not_or_cannot_be_known(text, soc, volt, holds):
    found = compile_condition(text, TABLE)
    snapshot = moment(a__b__soc=soc, a__b__volt_v=volt)
    assert found.holds(snapshot) is holds
    assert found.holds_for(snapshot.value[found.ids], snapshot.quality[found.ids]) is holds


@pytest.mark.parametrize("text", ["a.b.soc", "a.b.soc + 1", "if(a.b.soc > 0, 1, 0)"])
def test_a_number_is_no_condition(text):
    with pytest.raises(ExpressionError, match="compare it with something"):
        compile_condition(text, TABLE)


TRUTHS = st.sampled_from([(0.0, 0), (1.0, 0), (1.0, BAD)])


@given(st.lists(st.sampled_from(["and", "or", "and not", "or not"]), min_size=1, max_size=6), st.data())
def test_logic_is_that_of_every_way_the_unknown_could_be(words, data):
    """A condition is True or False exactly when it is so whatever the BAD values are, as long as each stands once."""
    names = ("a.b.soc", "a.b.volt_v", "a.b.power_w", "a.c.power_w", "a.d.power_w")
    words = words[: len(names) - 1]
    text = f"{names[0]} == 1" + "".join(f" {word} {name} == 1" for word, name in zip(words, names[1:], strict=False))
    condition = compile_condition(text, TABLE)
    samples = [data.draw(TRUTHS) for _ in condition.tags]
    python = re.sub(r"[abcd]\.\w\.\w+", lambda found: f"v[{condition.tags.index(found[0])}]", text)
    unknown = [at for at, (_, quality) in enumerate(samples) if quality]
    answers = set()
    for bits in range(2 ** len(unknown)):
        v = [value for value, _ in samples]
        for place, at in enumerate(unknown):
            v[at] = float(bits >> place & 1)
        answers.add(bool(eval(python, {"v": v})))
    values, quality = np.array([one[0] for one in samples]), np.array([one[1] for one in samples], np.uint16)
    assert condition.holds_for(values, quality) is (answers.pop() if len(answers) == 1 else None)


@given(st.text(alphabet="ab.c_w*?()+-/ ,1e9minsu<>=!", max_size=40))
def test_no_text_does_anything_but_compile_or_be_refused(text):
    try:
        compiled = compile_expression(text, TABLE)
    except ExpressionError:
        return
    assert set(compiled.tags) <= set(TABLE.ids)


@pytest.mark.parametrize(
    "text",
    [
        "max(a.b.power_w, -a.b.power_w, abs(a.c.power_w)) + sum(a.?.power_w) / 2 > 3 and not a.b.soc < 0.5",
        "if(a.b.soc > 0.5, a.b.power_w, 2 * a.c.power_w) >= min(a.d.power_w, a.b.power_w)",
    ],
)
def test_a_condition_reaches_the_processes_of_the_parts(text):
    """A site is handed to its parts by pickling, with all that was compiled from it."""
    here = compile_condition(text, TABLE)
    there = pickle.loads(pickle.dumps(here))
    for number in range(50):
        values = [(number * step) % 7 / 3.0 for step in range(1, len(here.tags) + 1)]
        assert there.evaluate(values) == here.evaluate(values)
