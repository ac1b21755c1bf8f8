"""Every command speaks the same language where nobody chooses one, and none changes what programs read."""

import argparse
from collections.abc import Iterator

from gwanje.core.cli.main import _parser
from gwanje.core.cli.speech import DEFAULT_LANG, LANGS, column_of


def commands(parser: argparse.ArgumentParser, name: str = "gwanje") -> Iterator[tuple[str, argparse.ArgumentParser]]:
    """Every command with its full name."""
    groups = [one for one in parser._actions if isinstance(one, argparse._SubParsersAction)]
    if not groups:
        yield name, parser
    for group in groups:
        for word, sub in group.choices.items():
            yield from commands(sub, f"{name} {word}")


def languages() -> dict[str, argparse.Action]:
    """Command → its choice of language."""
    return {
        name: action
        for name, parser in commands(_parser())
        for action in parser._actions
        if "--lang" in action.option_strings
    }


def test_the_default_of_all_commands_is_one():
    found = languages()
    assert {action.default for action in found.values()} == {DEFAULT_LANG}
    assert {tuple(action.choices) for action in found.values()} == {LANGS}


def test_what_operators_read_can_be_had_in_both_languages():
    names = {name.removeprefix("gwanje ") for name in languages()}
    wanted = {
        "alarms list", "alarms presented", "alarms shelved", "alarms kpis", "journal show", "operate select",
        "operate execute", "operate held", "operate list", "tags", "overrides", "substitute", "block", "restore",
        "ledger", "listen", "talk", "acoustic chirp",
    }  # fmt: skip
    assert wanted <= names


def test_a_pair_of_texts_is_korean_first():
    assert [column_of(one) for one in LANGS] == [0, 1]
