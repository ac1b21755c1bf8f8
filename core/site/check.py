"""``gwanje check``: every error in a site's files at once, also in the tables that the parts check themselves."""

from __future__ import annotations

import importlib
from pathlib import Path

from gwanje.core.city.run_dir import default_data_base
from gwanje.core.remote import check as remote_check
from gwanje.core.site import camera_passwords
from gwanje.core.site.config import Site, load_site
from gwanje.core.site.toml_reader import ConfigErrors, Document, KeyPath, Problem

PART_CHECKS = (
    "gwanje.io.config_check",
    "gwanje.control.microgrid.params",
    "gwanje.control.microgrid.settings",
    "gwanje.control.microgrid.planner.check",
    "gwanje.control.microgrid.ledger.settings",
    "gwanje.control.microgrid.estimation.settings",
    "gwanje.control.microgrid.tariff.reader",
    "gwanje.control.microgrid.year.settings",
    "gwanje.control.acoustic.settings",
    "gwanje.historian.config",
    "gwanje.hmi.display.loader",
)
"""Modules with a function ``problems(site) -> [(file, key path, reason)]``; by name, because core imports no part."""


def check_site(root: Path, data_base: Path | None = None) -> Site:
    """Load a site and have every part check what is its own.

    Args:
        root: folder of the site.
        data_base: where its keys lie; ``var`` beside ``configs`` unless given.

    Raises:
        ConfigErrors: with every problem found.
    """
    site = load_site(root)
    found: list[Problem] = []
    for name in PART_CHECKS:
        for file, path, reason in importlib.import_module(name).problems(site):
            found.append(_problem(site, file, path, reason))
    security_dir = (data_base or default_data_base(root)) / site.id / "security"
    for file, path, reason in remote_check.problems(site, security_dir):
        found.append(_problem(site, file, path, reason))
    cameras = [one for one in site.devices if one.driver == "onvif"]
    for file, reason in camera_passwords.problems([*site.nodes, *cameras], security_dir):
        found.append(_problem(site, file, (), reason))
    if found:
        raise ConfigErrors(found)
    return site


def _problem(site: Site, file: str, path: KeyPath, reason: str) -> Problem:
    document = site.documents.get(file) or Document.load(site.root / file, f"{site.root.name}/{file}")
    count = len(document.problems)
    document.problem(path, reason)
    return document.problems.pop(count)
