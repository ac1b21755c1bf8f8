"""Operator texts in Korean and English, from ``ko.toml`` and ``en.toml`` with the same keys."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

LANGUAGES = ("ko", "en")


def read_table(lang: str) -> dict[str, str]:
    """Flat ``section.key`` → text of one language."""
    path = Path(__file__).with_name(f"{lang}.toml")
    return dict(_flat("", tomllib.loads(path.read_text(encoding="utf-8"))))


def _flat(prefix: str, table: dict[str, Any]) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    for key, value in table.items():
        name = f"{prefix}.{key}" if prefix else key
        found.extend(_flat(name, value) if isinstance(value, dict) else [(name, str(value))])
    return found


class Texts:
    """The texts of both languages and which of them leads.

    Attributes:
        lang: ``ko`` or ``en``; may be changed at run time, then everything is laid out anew.
    """

    def __init__(self, lang: str) -> None:
        self._tables = {one: read_table(one) for one in LANGUAGES}
        self.lang = lang

    @property
    def other_lang(self) -> str:
        """The language of the small second lines."""
        return "en" if self.lang == "ko" else "ko"

    def toggle(self) -> None:
        """Exchange the two languages."""
        self.lang = self.other_lang

    def __call__(self, key: str, **values: object) -> str:
        """A text in the leading language.

        Raises:
            KeyError: there is no such text.
        """
        return self._tables[self.lang][key].format(**values)

    def second(self, key: str, **values: object) -> str:
        """A text in the other language."""
        return self._tables[self.other_lang][key].format(**values)

    def known(self, key: str) -> bool:
        """Whether there is such a text."""
        return key in self._tables[self.lang]

    def pick(self, ko: str, en: str) -> str:
        """Of two texts that came from elsewhere, the one in the leading language."""
        return ko if self.lang == "ko" else en

    def pick_second(self, ko: str, en: str) -> str:
        """Of two texts that came from elsewhere, the one in the other language."""
        return en if self.lang == "ko" else ko
