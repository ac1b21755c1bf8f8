"""The quick check of schemas says what the library says: every schema of both versions, payloads of all sorts."""

import json
import random
from pathlib import Path

import ocpp
import pytest
from jsonschema import Draft4Validator

from gwanje.io.field.ocpp.fast_schema import UnknownRuleError, compile_schema

HOME = Path(ocpp.__file__).parent
FILES = sorted([*(HOME / "v16" / "schemas").glob("*.json"), *(HOME / "v201" / "schemas").glob("*.json")])
ODD = [None, True, False, 0, -1, 1, 10**30, 0.5, 1.0, "", "x", "x" * 3_000, [], {}, [1], {"a": 1}, "Accepted", [{}]]


def some(schema, root, chance, wrong: float):
    """A value that follows a schema, but for what chance spoils."""
    if chance.random() < wrong:
        return chance.choice(ODD)
    if "$ref" in schema:
        return some(root["definitions"][schema["$ref"].rpartition("/")[2]], root, chance, wrong)
    if "enum" in schema:
        return chance.choice(schema["enum"])
    match schema["type"]:
        case "object":
            names = [
                name for name in schema.get("properties", {})
                if name in schema.get("required", ()) or chance.random() < 0.4
            ]  # fmt: skip
            value = {name: some(schema["properties"][name], root, chance, wrong) for name in names}
            if chance.random() < wrong:
                value["more"] = 1
            if value and chance.random() < wrong:
                value.pop(chance.choice(list(value)))
            return value
        case "array":
            least = schema.get("minItems", 0)
            n = chance.randint(least, least + 2) if chance.random() > wrong else chance.choice([0, 1, 9])
            return [some(schema["items"], root, chance, wrong) for _ in range(n)]
        case "string":
            most = schema.get("maxLength", 30)
            return "x" * chance.choice([0, 1, most, most + (chance.random() < wrong)])
        case "boolean":
            return chance.random() < 0.5
        case "integer":
            return chance.choice([0, 1, schema.get("minimum", 5), schema.get("maximum", 7)])
    return chance.choice([0, 1, 2.5, schema.get("minimum", 5)])


def schema_of(path):
    return json.loads(path.read_text(encoding="utf-8-sig"))


@pytest.mark.parametrize("version", ["v16", "v201"])
def test_it_says_what_the_library_says(version):
    chance = random.Random(5)
    n_good = n_bad = 0
    for path in FILES:
        if path.parts[-3] != version:
            continue
        schema = schema_of(path)
        try:
            follows = compile_schema(schema)
        except UnknownRuleError:
            continue
        judge = Draft4Validator(schema)
        for n in range(40):
            payload = some(schema, schema, chance, 0.0 if n < 10 else 0.06)
            good = judge.is_valid(payload)
            assert follows(payload) is good, (path.name, payload)
            n_good, n_bad = n_good + good, n_bad + (not good)
        for odd in ODD:
            assert follows(odd) is judge.is_valid(odd), (path.name, odd)
    assert n_good > 1_000
    assert n_bad > 200


def test_it_knows_all_schemas_but_those_with_tenths_and_those_that_take_anything():
    unknown = set()
    for path in FILES:
        try:
            compile_schema(schema_of(path))
        except UnknownRuleError as error:
            unknown.add((path.name, str(error)))
    tenths = ("SetChargingProfile.json", "RemoteStartTransaction.json", "GetCompositeScheduleResponse.json")
    anything = ("DataTransferRequest.json", "DataTransferResponse.json")
    assert unknown == {(one, "multipleOf") for one in tenths} | {(one, "type None") for one in anything}


@pytest.mark.parametrize(
    "schema",
    [{"type": "string", "pattern": "a"}, {"type": "object", "additionalProperties": {"type": "string"}},
     {"type": "null"}, {"$ref": "other.json"}, {"type": "array"}, {"type": "integer", "enum": [1]},
     {"$ref": "#/definitions/a", "definitions": {"a": {"$ref": "#/definitions/a"}}}],
)  # fmt: skip
def test_what_it_does_not_know_it_leaves_to_the_library(schema):
    with pytest.raises(UnknownRuleError):
        compile_schema(schema)
