"""Files of a part of control that families keep apart: ``NAME.toml`` and ``NAME/*.toml`` are read as if they were one.

A site that leaves a family of devices away leaves its files away too, and nothing of it is asked for.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gwanje.core.site.toml_reader import KeyPath


class FamilyFileError(ValueError):
    """A file cannot be read.

    Attributes:
        file: relative to the site.
    """

    def __init__(self, file: str, reason: str) -> None:
        self.file = file
        super().__init__(f"{file}: {reason}")


@dataclass(slots=True)
class FamilyFiles:
    """What stands in several files together.

    Attributes:
        content: arrays of tables are joined in the order of the files; anything else stands in one file.
        places: array → file and place there of each of its tables.
        homes: key → its file.
    """

    main: str
    content: dict[str, Any] = field(default_factory=dict)
    places: dict[str, list[tuple[str, int]]] = field(default_factory=dict)
    homes: dict[str, str] = field(default_factory=dict)

    def place(self, path: KeyPath) -> tuple[str, KeyPath]:
        """File and key path there of a path in the content."""
        if len(path) > 1 and isinstance(path[1], int) and path[1] < len(self.places.get(str(path[0]), ())):
            file, index = self.places[str(path[0])][path[1]]
            return file, (path[0], index, *path[2:])
        return (self.homes.get(str(path[0]), self.main) if path else self.main), path


def read_family_files(root: Path, main: str) -> FamilyFiles:
    """A file of a site and the folder of the same name beside it.

    Args:
        root: folder of the site.
        main: such as ``microgrid/planner.toml``.

    Raises:
        FamilyFileError: one is missing, is not TOML, or says a second time what another said.
    """
    found = FamilyFiles(main)
    folder = root / main.removesuffix(".toml")
    for path in (root / main, *sorted(folder.glob("*.toml"))):
        file = path.relative_to(root).as_posix()
        try:
            content = tomllib.loads(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise FamilyFileError(file, error.strerror or str(error)) from None
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise FamilyFileError(file, f"is not TOML: {error}") from None
        for key, value in content.items():
            home = found.homes.setdefault(key, file)
            joined = isinstance(value, list) and isinstance(found.content.get(key, []), list)
            if joined:
                found.content.setdefault(key, []).extend(value)
                found.places.setdefault(key, []).extend((file, at) for at in range(len(value)))
            elif home == file:
                found.content[key] = value
            else:
                raise FamilyFileError(file, f"[{key}] stands in {home} already")
    return found
