"""In which language commands speak to people: one choice, the same default for all of them.

Times they show are the site's own (:class:`gwanje.core.site.local_time.SiteTime`); ``--json`` and exports stay UTC and
are the same in every language.
"""

from __future__ import annotations

import argparse

LANGS = ("ko", "en")
DEFAULT_LANG = "ko"
"""What the operators of the default site speak."""


def with_lang(sub: argparse.ArgumentParser) -> None:
    """Let a person choose the language of a command's output."""
    sub.add_argument("--lang", choices=LANGS, default=DEFAULT_LANG, help=f"language (default: {DEFAULT_LANG})")


def column_of(lang: str) -> int:
    """Where a language stands in a pair of texts."""
    return LANGS.index(lang)
