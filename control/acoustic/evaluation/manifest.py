"""The recordings of a folder with a ``manifest.csv``; everything wrong with it is told by file and line."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from pathlib import Path
from typing import Final

import numpy as np

from gwanje.control.acoustic.classes import CLASS_NAMES
from gwanje.control.acoustic.features import SAMPLE_RATE_HZ
from gwanje.control.acoustic.training.clips import Clip, ClipError, event_of, read_wave, source_of, with_folds

FILE: Final = "manifest.csv"
NEGATIVE_PREFIX: Final = "neg_"
DURATION_MAX_S: Final = 600.0  # of one recording: ten minutes are 38 MB of float32
PROBLEMS_SHOWN: Final = 20
SHORTEST_S: Final = 0.02


def find_manifest(folder: Path) -> Path:
    """The manifest in a folder or, for a folder of one that has it, in the folder above.

    Raises:
        ClipError: there is none.
    """
    if not folder.is_dir():
        raise ClipError(f"{folder}: no such folder")
    for home in (folder, folder.resolve().parent):
        if (home / FILE).is_file():
            return home / FILE
    raise ClipError(f"{folder}: no {FILE} in it (columns class,path,…)")


def _rows(manifest: Path) -> list[tuple[int, dict[str, str]]]:
    """(line, row) of everything in the manifest."""
    try:
        with manifest.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            names = reader.fieldnames or []
            missing = [name for name in ("class", "path") if name not in names]
            if missing:
                raise ClipError(f"{manifest}:1: no column {' and no column '.join(missing)}")
            return [(reader.line_num, row) for row in reader]
    except UnicodeDecodeError as error:
        raise ClipError(f"{manifest}: not UTF-8 text ({error.reason} at byte {error.start})") from None
    except (OSError, csv.Error) as error:
        raise ClipError(f"{manifest}: {error}") from None


def _refuse(problems: list[str]) -> None:
    if problems:
        shown = problems[:PROBLEMS_SHOWN]
        more = [f"… and {len(problems) - len(shown)} more"] if len(problems) > len(shown) else []
        raise ClipError("\n".join([*shown, *more]))


def listed(folder: Path) -> tuple[Path, list[tuple[int, str, Path, str]]]:
    """The manifest, and of every row in the folder its line, class, file and source address.

    A path is taken from the manifest's folder. Rows of a manifest in the folder above that lie elsewhere are left out.

    Raises:
        ClipError: no manifest, an unknown class, a path that leaves the folder or is not there, or one named twice.
    """
    manifest = find_manifest(folder)
    home, inside = manifest.parent.resolve(), folder.resolve()
    found, problems, seen = [], [], dict[Path, int]()
    for line, row in _rows(manifest):
        name, given = (row["class"] or "").strip(), (row["path"] or "").strip()
        if not given:
            problems.append(f"{manifest}:{line}: no path")
            continue
        path = (home / given).resolve()
        if not path.is_relative_to(home):
            problems.append(f"{manifest}:{line}: {given} lies outside {home}")
        elif not path.is_relative_to(inside):
            continue
        elif name not in CLASS_NAMES and not (name.startswith(NEGATIVE_PREFIX) and name != NEGATIVE_PREFIX):
            problems.append(
                f"{manifest}:{line}: unknown class {name!r}; known are {', '.join(CLASS_NAMES)} and neg_…")
        elif not path.is_file():
            problems.append(f"{manifest}:{line}: {given}: no such file")
        elif path in seen:
            problems.append(f"{manifest}:{line}: {given} is named in line {seen[path]} too")
        else:
            seen[path] = line
            found.append((line, name, path, (row.get("source_url") or "").strip()))
    _refuse(problems)
    if not found:
        raise ClipError(f"{manifest}: no recordings{'' if home == inside else f' below {folder}'}")
    return manifest, found


def load_manifest(folder: Path) -> list[Clip]:
    """Every recording that the manifest names, at 16 kHz and mono, with folds by source.

    Raises:
        ClipError: see :func:`listed`; or a recording that is unreadable, empty, silent, too short or too long. All
            problems are told, a line each.
    """
    manifest, rows = listed(folder)
    clips, problems = [], []
    for line, name, path, url in rows:
        shown = path.relative_to(manifest.parent.resolve())
        try:
            wave = read_wave(path)
        except ClipError as error:
            problems.append(f"{manifest}:{line}: {error}")
            continue
        seconds = len(wave) / SAMPLE_RATE_HZ
        if not SHORTEST_S <= seconds <= DURATION_MAX_S:
            problems.append(
                f"{manifest}:{line}: {shown} lasts {seconds:.2f} s, expected {SHORTEST_S:g}…{DURATION_MAX_S:g} s")
        elif not np.isfinite(wave).all():
            problems.append(f"{manifest}:{line}: {shown} holds values that are no numbers")
        elif not np.abs(wave).max() > 0.0:
            problems.append(f"{manifest}:{line}: {shown} is silent")
        else:
            clip = Clip(str(shown.with_suffix("")), name, source_of(str(path), url), 0, wave)
            clips.append(Clip(clip.name, name, clip.source, 0, event_of(clip)))
    _refuse(problems)
    return with_folds(clips)


def negatives_of(clips: Iterable[Clip]) -> list[Clip]:
    """Those that must not alarm."""
    return [clip for clip in clips if clip.class_name.startswith(NEGATIVE_PREFIX)]
