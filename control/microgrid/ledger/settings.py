"""``microgrid/ledger.toml`` and ``ledger/*.toml`` of a site: which tags the energy ledger counts, and as what."""

from __future__ import annotations

from dataclasses import MISSING, dataclass
from pathlib import Path

from gwanje.control.microgrid.files.family_files import FamilyFileError, FamilyFiles, read_family_files
from gwanje.control.microgrid.files.fields import ControlConfigError, Problem, document, number
from gwanje.control.microgrid.ledger.entry import Channel
from gwanje.control.microgrid.tariff import reader as tariff_reader
from gwanje.core.site.config import Site
from gwanje.core.site.toml_reader import KeyPath
from gwanje.core.tags.table import TagTable

FILE = "microgrid/ledger.toml"
OWNER = "ledger"
EACH_MAX = 64
"""Meters of one kind: the ledger is of feeders and plants, not of single homes."""
FIGURES = (
    "day.import_wh", "day.export_wh", "day.generation_wh", "day.use_wh", "day.self_sufficiency", "day.unaccounted_wh",
    "day.cost_krw", "day.co2_avoided_kg", "day.gap_s", "quarter.import_w", "month.import_wh", "month.peak_import_w",
    "month.billed_peak_w", "month.bill_krw", "book.state",
)  # fmt: skip
"""Running figures, each second, as tags ``ledger.<figure>``."""
ENTRY_FIGURES = (
    "begin_utc_s", "import_wh", "export_wh", "generation_wh", "use_wh", "charge_wh", "discharge_wh", "unaccounted_wh",
    "estimated_s", "gap_s", "cost_krw", "co2_avoided_kg",
)  # fmt: skip
"""Of the newest closed quarter hour, as tags ``ledger.entry.<figure>``; recorded once, with the time of its end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class General:
    """The ledger itself."""

    hold_s: float = number(60.0, 0.0, 900.0, "s", "결측 유지", "that several missing meters keep their value", "ledger")
    save_s: float = number(5.0, 1.0, 60.0, "s", "저장 주기", "between two saves", "ledger")


@dataclass(frozen=True, slots=True, kw_only=True)
class MeterEntry:
    """A meter: import, consumption or losses."""

    tag: str


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerationEntry:
    """A meter of a plant, and what its fuel emits."""

    tag: str
    co2_kg_per_kwh: float = number(0.0, 0.0, 5.0, "kg/kWh", "배출 계수", "of its fuel", "ledger")


@dataclass(frozen=True, slots=True, kw_only=True)
class StorageEntry:
    """A battery: its meter, and what is in it."""

    tag: str
    soc_tag: str
    energy_wh: float = number(MISSING, 1.0, 1e12, "Wh", "용량", "between empty and full", "ledger")


@dataclass(frozen=True, slots=True)
class LedgerSettings:
    """All of the file; channels in the order tie, generation, load, loss, storage."""

    general: General
    tie: tuple[MeterEntry, ...]
    generation: tuple[GenerationEntry, ...]
    load: tuple[MeterEntry, ...]
    loss: tuple[MeterEntry, ...]
    storage: tuple[StorageEntry, ...]

    @property
    def channels(self) -> tuple[Channel, ...]:
        """What the ledger counts."""
        return (
            *(Channel(one.tag, "tie") for one in self.tie),
            *(Channel(one.tag, "generation", round(one.co2_kg_per_kwh * 1e6)) for one in self.generation),
            *(Channel(one.tag, "load") for one in self.load),
            *(Channel(one.tag, "loss") for one in self.loss),
            *(Channel(one.tag, "storage") for one in self.storage),
        )

    def reads(self) -> tuple[str, ...]:
        """Tags that must be there: the channels', then the states of charge."""
        return (*(one.name for one in self.channels), *(one.soc_tag for one in self.storage))


def writes() -> tuple[str, ...]:
    """Tags of the owner ``ledger``."""
    return (*(f"{OWNER}.{one}" for one in FIGURES), *(f"{OWNER}.entry.{one}" for one in ENTRY_FIGURES))


KINDS = {
    "tie": (MeterEntry, 1, 1), "generation": (GenerationEntry, 0, EACH_MAX), "load": (MeterEntry, 0, EACH_MAX),
    "loss": (MeterEntry, 0, EACH_MAX), "storage": (StorageEntry, 0, EACH_MAX),
}  # fmt: skip
"""Table → its dataclass, and how many there may be."""


def read_settings(root: Path) -> LedgerSettings:
    """A site's ledger.

    Raises:
        ControlConfigError: with every problem as ``key: reason``.
        FamilyFileError: a file cannot be read or is not TOML.
    """
    return parse(read_family_files(root, FILE))


def parse(files: FamilyFiles) -> LedgerSettings:
    """Checked settings.

    Raises:
        ControlConfigError: with every problem.
    """
    problems: list[Problem] = []
    general, read = document(files.content, (OWNER, General), KINDS, problems)
    seen: set[str] = set()
    for key, entries in read.items():
        for at, one in enumerate(entries):
            if one.tag in seen:
                problems.append(((key, at, "tag"), f"{one.tag} is counted twice"))
            seen.add(one.tag)
    if problems:
        raise ControlConfigError(problems)
    return LedgerSettings(general, **read)


def check_tags(settings: LedgerSettings, tags: TagTable) -> None:
    """Whether a site has the tags.

    Raises:
        ControlConfigError: naming those it has not, that are no powers, or that are another owner's.
    """
    problems: list[Problem] = []
    for key in ("tie", "generation", "load", "loss", "storage"):
        for at, one in enumerate(getattr(settings, key)):
            if one.tag not in tags:
                problems.append(((key, at, "tag"), f"there is no tag {one.tag}"))
            elif tags.get(one.tag).unit != "W":
                problems.append(((key, at, "tag"), f"{one.tag} is in {tags.get(one.tag).unit or '1'}, not in W"))
    for at, storage in enumerate(settings.storage):
        if storage.soc_tag not in tags:
            problems.append((("storage", at, "soc_tag"), f"there is no tag {storage.soc_tag}"))
    for name in writes():
        if name not in tags:
            problems.append(((), f"there is no tag {name}"))
        elif tags.get(name).owner != OWNER:
            problems.append(((), f"tag {name} belongs to {tags.get(name).owner}, not to {OWNER}"))
    if problems:
        raise ControlConfigError(problems)


def problems(site: Site) -> list[tuple[str, KeyPath, str]]:
    """What is wrong with a site's ledger: file, key path, reason. A site without its file has none."""
    if not (site.root / FILE).exists():
        return []
    found: list[tuple[str, KeyPath, str]] = []
    if not (site.root / tariff_reader.TERMS_FILE).exists():
        found.append((FILE, (), f"the ledger needs {tariff_reader.TERMS_FILE}"))
    try:
        files = read_family_files(site.root, FILE)
    except FamilyFileError as error:
        return [*found, (error.file, (), str(error).removeprefix(f"{error.file}: "))]
    try:
        check_tags(parse(files), site.tags)
    except ControlConfigError as error:
        found += [(*files.place(path), reason) for path, reason in error.problems]
    return found
