"""The folder of a collector: which files are whole, and where each goes. Blocking; run in a thread.

A file is taken once its name ends in ``.csv``: whoever writes it renames it at the end. Nothing is ever deleted: what
was read goes to ``done/``, what cannot be read to ``bad/`` beside a note that says why; a name that is taken gets a
number.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from gwanje.io.field.meter_file.parse import FILE_BYTES_MAX

FILES_MAX = 64
"""Files taken at once; after a long outage the next look takes the next."""
SAME_NAME_MAX = 10_000
"""Numbers that are tried for a name that is taken."""


@dataclass(frozen=True, slots=True)
class Found:
    """A file that is whole.

    Attributes:
        path: of the file.
        raw: its bytes.
        unreadable: why they could not be read; empty for a file that was.
    """

    path: Path
    raw: bytes
    unreadable: str = ""


def look(folder: Path) -> list[Found]:
    """The oldest names first, at most :data:`FILES_MAX`; the folder is made when it is not there.

    A file that cannot be read says so, and one that its writer took back is left out: neither keeps the others waiting.

    Raises:
        OSError: the folder cannot be read.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with os.scandir(folder) as listing:
        names = sorted(one.name for one in listing if one.name.endswith(".csv") and one.is_file(follow_symlinks=False))
    found = []
    for name in names[:FILES_MAX]:
        path = folder / name
        try:
            with path.open("rb") as file:
                found.append(Found(path, file.read(FILE_BYTES_MAX + 1)))
        except FileNotFoundError:
            continue
        except OSError as error:
            found.append(Found(path, b"", error.strerror or str(error)))
    return found


def newest_done(folder: Path, after_utc_s: float) -> tuple[Found, float] | None:
    """The file that was taken last, and when it was written; None where none was after ``after_utc_s``.

    Raises:
        OSError: the folder cannot be read.
    """
    done = folder / "done"
    if not done.is_dir():
        return None
    with os.scandir(done) as listing:
        known = [(one.stat().st_mtime, one.path) for one in listing if one.name.endswith(".csv") and one.is_file()]
    written_s, path = max(known, default=(0.0, ""))
    if not path or written_s < after_utc_s:
        return None
    with open(path, "rb") as file:
        return Found(Path(path), file.read(FILE_BYTES_MAX + 1)), written_s


def put_away(path: Path, where: str, note: str = "") -> None:
    """Move a file to ``done`` or ``bad``; a note goes beside it.

    Raises:
        OSError: it cannot be moved, and stays where it is.
    """
    target = path.parent / where
    target.mkdir(exist_ok=True)
    for number in range(SAME_NAME_MAX):
        goal = target / (path.name if not number else f"{path.stem}.{number}{path.suffix}")
        if not goal.exists():
            break
    else:
        raise OSError(f"{target} is full of files named {path.name}")
    if note:
        goal.with_name(goal.name + ".txt").write_text(note, encoding="utf-8")
    path.rename(goal)
