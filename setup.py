"""Build script: maps the top-level folders to the package ``gwanje`` and compiles the kernels in ``ext/``.

The folders keep the names operators and engineers use (``io``, ``control``, …) while Python imports them as
``gwanje.io`` and so on; a top-level ``io`` package could never be imported (it is Python's own module).

Extra commands and options:
    python setup.py build_ext --inplace [--only NAME]   compile the kernels (or one of them) beside their sources
    python setup.py typetree                            lay out build/types/gwanje/* as links, for mypy and pyright
"""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path
from typing import ClassVar

import numpy
from Cython.Build import cythonize
from setuptools import Command, Extension, setup

ROOT = Path(__file__).resolve().parent
PARTS = ("core", "ext", "io", "control", "historian", "hmi")


def packages() -> dict[str, str]:
    """Import name → folder, for the root and every folder below the parts that holds an ``__init__.py``."""
    found = {"gwanje": "core/_root"}
    for part in PARTS:
        for init in sorted((ROOT / part).rglob("__init__.py")):
            folder = init.parent.relative_to(ROOT)
            if folder.parts[:2] == ("core", "_root"):
                continue
            found["gwanje." + ".".join(folder.parts)] = folder.as_posix()
    return found


def only_option() -> str | None:
    """Value of ``--only NAME``, removed from the arguments because setuptools does not know it."""
    if "--only" not in sys.argv:
        return None
    at = sys.argv.index("--only")
    name = sys.argv[at + 1]
    del sys.argv[at : at + 2]
    return name


def headers(source: Path) -> list[str]:
    """Headers of ``ext/`` that a kernel includes, also through each other: it is compiled anew when one changes."""
    found: list[Path] = []
    waiting = [source]
    while waiting:
        names = re.findall(r'"(\w+\.h)"', waiting.pop().read_text(encoding="utf-8"))
        new = {ROOT / "ext" / name for name in names} - set(found)
        fresh = sorted(header for header in new if header.is_file())
        found += fresh
        waiting += fresh
    return [header.relative_to(ROOT).as_posix() for header in found]


def extensions(only: str | None) -> list[Extension]:
    """One extension per kernel source in ``ext/``; ``# gwanje: flags`` lines in a source add compiler flags."""
    kernels = []
    for source in sorted((ROOT / "ext").glob("*.pyx")):
        if only is not None and source.stem != only:
            continue
        flags = ["-O3", "-fno-math-errno"]
        libraries: list[str] = []
        for line in source.read_text(encoding="utf-8").splitlines()[:40]:
            if line.startswith("# gwanje: flags "):
                flags += line.removeprefix("# gwanje: flags ").split()
            if line.startswith("# gwanje: libraries "):
                libraries += line.removeprefix("# gwanje: libraries ").split()
        kernels.append(
            Extension(
                f"gwanje.ext.{source.stem}",
                [source.relative_to(ROOT).as_posix()],
                include_dirs=[numpy.get_include(), "ext"],
                extra_compile_args=flags,
                libraries=libraries,
                depends=headers(source),
                define_macros=[("NPY_NO_DEPRECATED_API", "NPY_1_7_API_VERSION")],
            )
        )
    return kernels


def link_tree() -> Path:
    """``build/types`` with ``gwanje/<part>`` as links to the folders.

    Cython finds a kernel's ``.pxd`` and the type checkers find the package only under its import name.
    """
    tree = ROOT / "build" / "types" / "gwanje"
    tree.mkdir(parents=True, exist_ok=True)
    links = {entry.name: entry for entry in (ROOT / "core" / "_root").iterdir() if entry.suffix in (".py", ".typed")}
    links |= {part: ROOT / part for part in PARTS}
    for name, target in links.items():
        link = tree / name
        if not (link.is_symlink() and Path(os.readlink(link)) == target):
            link.unlink(missing_ok=True)
            os.symlink(target, link)
    return tree.parent


class TypeTree(Command):  # type: ignore[misc]
    """Lay out ``build/types``: from the root, mypy would take ``./io`` for Python's own module."""

    description = "lay out the link tree that the type checkers run in"
    user_options: ClassVar[list[tuple[str, str | None, str]]] = []

    def initialize_options(self) -> None:
        """Nothing to initialise: the command has no options."""

    def finalize_options(self) -> None:
        """Nothing to finalise: the command has no options."""

    def run(self) -> None:
        """Remake the tree."""
        link_tree()


def cython_modules() -> list[Extension]:
    """The kernels, translated to C under ``build/cython``."""
    only = only_option()
    kernels = extensions(only)
    if not kernels:
        return []
    modules: list[Extension] = cythonize(
        kernels,
        build_dir="build/cython",
        include_path=[str(link_tree())],
        compiler_directives={
            "language_level": 3,
            "boundscheck": False,
            "wraparound": False,
            "cdivision": True,
            "initializedcheck": False,
        },
    )
    return modules


if __name__ == "__main__":
    setup(
        packages=list(packages()),
        package_dir=packages(),
        ext_modules=cython_modules(),
        cmdclass={"typetree": TypeTree},
        options={"build_ext": {"parallel": os.cpu_count() or 1}},
    )
