"""Every key's line, held against a second way of finding it."""

import tomllib

import pytest

from gwanje.core.site.toml_lines import line_index, line_of

TEXT = """\
# comment with = and [brackets]
top = 1
"quoted key" = 2

[table]
a = "text with # and [ and ="
b.c = 3
long = [
  1,
  [2, 3],  # a = 5
]
story = \"\"\"
fake = 1
[fake]
\"\"\"
after = 1

[[device]]
name = "one"
  [[device.point]]
  tag = "x"
  [[device.point]]
  tag = "y"
  [device.twin]
  kind = "ess"

[[device]]
name = "two"
twin = { kind = "pv", rated_w = 5 }
[[device.point]]
tag = "z"
"""


def test_the_sample_is_toml():
    assert tomllib.loads(TEXT)["device"][0]["point"][1]["tag"] == "y"


@pytest.mark.parametrize(
    ("path", "needle", "nth"),
    [
        (("top",), "top = 1", 0),
        (("quoted key",), '"quoted key"', 0),
        (("table",), "[table]", 0),
        (("table", "b", "c"), "b.c = 3", 0),
        (("table", "after"), "after = 1", 0),
        (("device", 0, "name"), 'name = "one"', 0),
        (("device", 0, "point", 0, "tag"), 'tag = "x"', 0),
        (("device", 0, "point", 1, "tag"), 'tag = "y"', 0),
        (("device", 0, "twin", "kind"), 'kind = "ess"', 0),
        (("device", 1), "[[device]]", 1),
        (("device", 1, "twin", "rated_w"), "twin = {", 0),
        (("device", 1, "point", 0, "tag"), 'tag = "z"', 0),
        (("device", 1, "no such key"), "[[device]]", 1),
        (("nothing", "at", "all"), "# comment", 0),
    ],
)
def test_lines(path, needle, nth):
    lines = [number for number, line in enumerate(TEXT.splitlines(), 1) if needle in line]
    assert line_of(line_index(TEXT), path) == lines[nth]


def test_what_stands_inside_strings_is_no_key():
    index = line_index(TEXT)
    assert ("fake",) not in index
    assert ("table", "fake") not in index
