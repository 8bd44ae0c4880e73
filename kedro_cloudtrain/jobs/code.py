"""The project's own code as it travels: an archive of the packages that a function needs, and a digest of the modules it imports."""

from __future__ import annotations

import dataclasses
import hashlib
import importlib.util
import io
import json
import os
import subprocess
import sys
import threading
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

from kedro_cloudtrain.errors import ConfigError
from kedro_cloudtrain.jobs.imports import Imports
from kedro_cloudtrain.jobs.worker_archive import add_member

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from importlib.machinery import ModuleSpec


@dataclasses.dataclass(frozen=True)
class Code:
    """The code that a function's module needs besides installed packages.

    Attributes:
        archive: a zip of whole packages: those of the function's module and of all that it imports; the same files give the same bytes.
        digest: sha256 of the modules that it imports, directly or through others, and of the packages' other files. So a change in
            another node's module leaves the digest as it is. Where one of them imports by a computed name, no reading of the code can
            tell which module that is: all modules of the project count, and travel. Where one reads files of a package, all files of
            that package count.
    """

    archive: bytes = dataclasses.field(repr=False)
    digest: str


class Codes:
    """The code of a run's functions, gathered once for the same modules: its nodes share the code as the first of them found it.

    Args:
        own: the project's own package, which travels even if it is installed as a wheel.
        project: the project's folder, below which a traceback shows the code.
    """

    def __init__(self, own: str | None = None, project: Path | None = None) -> None:
        self._packages = _Packages(own)
        self._project = project
        self._lock = threading.Lock()
        self._codes: dict[tuple[bool, tuple[str, ...]], Code] = {}
        self._files: dict[str, list[tuple[str, Path]]] = {}
        self._sums: dict[Path, str] = {}

    def of(self, module: str, *others: str, whole: bool = False) -> Code:
        """Return the code of a function's module, and of other modules or the classes in them.

        Args:
            module: the function's.
            others: names of modules, or of what is in one; those of other packages are left out.
            whole: whether all modules of the project count and travel, since what runs there cannot be told.

        Raises:
            ConfigError: no file holds the module, or one that they import has a syntax error.
        """
        with self._lock:
            held = {name for other in others if (name := self._packages.module_in(other)) is not None}
            modules = (module, *sorted(held - {module}))
            if (whole, modules) not in self._codes:
                self._codes[whole, modules] = self._gather(modules, whole=whole)
            return self._codes[whole, modules]

    def needed(self, module: str) -> frozenset[str]:
        """Return the installed packages without which a module cannot be imported, by the names that it imports them by.

        Raises:
            ConfigError: it, or a module that it imports, has a syntax error.
        """
        return frozenset(self._packages.needed(module))

    def digest(self, *modules: str) -> str | None:
        """Return the digest of what some modules import, without packing it; None where none of them is in a file of the project.

        Args:
            modules: names of modules, or of what is in one.

        Raises:
            ConfigError: one that they import has a syntax error.
        """
        with self._lock:
            held = {name for module in modules if (name := self._packages.module_in(module)) is not None}
            files = self._find(tuple(sorted(held)), whole=False)
            return self._digest(files) if files.reached.modules else None

    def _find(self, modules: tuple[str, ...], *, whole: bool) -> _Files:
        """Return the files that some modules need."""
        reached = self._packages.reached(modules, whole=whole)
        for root in reached.roots - set(self._files):
            self._files[root] = list(self._packages.files(root))
        # An imported module travels even if git ignores it, such as a version file that a build has written.
        imported = {_place_of(name, file): file for name, file in reached.modules.items()}
        listed = [(inside, file, root) for root in reached.roots for inside, file in self._files[root]]
        counted = {*imported, *(inside for inside, _, root in listed if root in reached.whole)}
        return _Files(reached, dict(sorted({**imported, **{inside: file for inside, file, _ in listed}}.items())), counted)

    def _digest(self, files: _Files) -> str:
        sums, needed = hashlib.sha256(), {file.resolve() for file in files.reached.modules.values()}
        for inside, file in files.places.items():
            if file.suffix != ".py" or inside in files.counted or file.resolve() in needed:
                if file not in self._sums:
                    self._sums[file] = hashlib.sha256(file.read_bytes()).hexdigest()
                sums.update(f"{inside}\0{self._sums[file]}\n".encode())
        return sums.hexdigest()

    def _gather(self, modules: tuple[str, ...], *, whole: bool) -> Code:
        files = self._find(modules, whole=whole)
        if not files.reached.modules and not self._packages.is_installed(modules[0]):
            raise ConfigError(
                f"No file holds the code of {modules[0]}, so it cannot travel to a machine: write it in a module of the project."
            )
        sources = {root: place for root in sorted(files.reached.roots) if (place := self._shown(root)) is not None}
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
            for inside, file in files.places.items():
                content = file.read_bytes()
                self._sums[file] = hashlib.sha256(content).hexdigest()
                add_member(archive, inside, content)
            # The machine unpacks the code elsewhere: with this, a traceback of it names the project's files.
            archive.comment = json.dumps(sources).encode()
        return Code(buffer.getvalue(), self._digest(files))

    def _shown(self, root: str) -> str | None:
        """Return a package's place, seen from the project's folder; None where there is no project."""
        place = self._packages.place(root)
        return None if self._project is None or place is None else Path(os.path.relpath(place, self._project)).as_posix()


@dataclasses.dataclass
class _Reached:
    """What an import of some modules may run and read.

    Attributes:
        modules: each module, by name, with its file.
        roots: the packages that are reached, also those of which only files are read.
        whole: those of them of which all files count.
    """

    modules: dict[str, Path] = dataclasses.field(default_factory=dict)
    roots: set[str] = dataclasses.field(default_factory=set)
    whole: set[str] = dataclasses.field(default_factory=set)


@dataclasses.dataclass(frozen=True)
class _Files:
    """The files that some modules need.

    Attributes:
        reached: what an import of them may run and read.
        places: every file that travels, by its path in the archive.
        counted: the paths of those that count besides the packages' other files.
    """

    reached: _Reached
    places: dict[str, Path]
    counted: set[str]


@dataclasses.dataclass(frozen=True)
class _Packages:
    """The importable packages that a machine cannot install: those of a source tree or of an editable installation."""

    own: str | None

    def reached(self, modules: tuple[str, ...], *, whole: bool = False) -> _Reached:
        """Return what an import of `modules` may run and read, of these packages.

        Where one of them imports by a computed name, those are all modules of the project and of the packages that are reached.

        Args:
            modules: the modules.
            whole: whether all modules of the project count in any case.

        Raises:
            ConfigError: one that is imported by its written name has a syntax error.
        """
        reached = _Reached()
        if self._follow(modules, reached) or whole:
            # Nothing says that these are imported: a file that is not Python, such as a template of code, counts by its content alone.
            roots = set[str]()
            while more := {*reached.roots, *self._of_project()} - roots:
                roots |= more
                self._follow([name for root in sorted(more) for name in self._modules(root)], reached, strict=False)
                reached.roots |= {root for root in more if any(True for _ in self.files(root))}
            reached.whole |= reached.roots
        return reached

    def _follow(self, modules: Iterable[str], reached: _Reached, *, strict: bool = True) -> bool:
        """Add what an import of some modules may run and read; return whether one of them imports by a computed name.

        Args:
            modules: the modules.
            reached: is added to.
            strict: whether a file that is not Python is an error.

        Raises:
            ConfigError: it is one.
        """
        visited, waiting, computed = set(reached.modules), list(modules), False
        while waiting:
            name = waiting.pop()
            if name in visited:
                continue
            visited.add(name)
            root, parent = name.partition(".")[0], name.rpartition(".")[0]
            if parent:
                # Even of a module without a file: the parents of a package without an __init__.py run too.
                waiting.append(parent)
            file = self._file_of(name)
            if file is None:
                continue
            reached.modules[name] = file
            reached.roots.add(root)
            try:
                imports = Imports.of(file, name if file.name == "__init__.py" else parent)
            except ConfigError:
                if strict:
                    raise
                continue
            waiting += imports.names
            computed = computed or imports.computed
            if imports.reads_files:
                reached.whole |= {root, *(other.partition(".")[0] for other in imports.read if self.module_in(other) is not None)}
                reached.roots |= reached.whole
        return computed

    def module_in(self, name: str) -> str | None:
        """Return the module of these packages that a name names, or is in: the name of a class begins with its module's."""
        parts = name.split(".")
        names = (".".join(parts[:count]) for count in range(len(parts), 0, -1))
        return next((module for module in names if module.isascii() and self._file_of(module) is not None), None)

    def needed(self, module: str) -> Iterator[str]:
        """Yield the roots of installed packages that an import of a module needs; what it imports later, or only tries, is left out."""
        visited: set[str] = set()
        waiting = [module]
        while waiting:
            name = waiting.pop()
            if name in visited:
                continue
            visited.add(name)
            root, _, inner = name.partition(".")
            parent = name.rpartition(".")[0]
            file = self._file_of(name)
            if inner:
                waiting.append(parent)
            if file is not None:
                waiting += Imports.of(file, name if file.name == "__init__.py" else parent).at_once
            elif not inner and root not in sys.stdlib_module_names and root != "kedro_cloudtrain" and self.is_installed(root):
                yield root

    def files(self, root: str) -> Iterator[tuple[str, Path]]:
        """Yield a package's files with their paths in the archive, without those that git ignores."""
        spec = self._spec(root)
        if spec is not None and spec.origin is not None and not spec.submodule_search_locations:
            yield Path(spec.origin).name, Path(spec.origin)
        for folder in _folders(spec):
            for file in _kept_by_git(folder):
                yield f"{root}/{file.relative_to(folder).as_posix()}", file

    def _modules(self, root: str) -> list[str]:
        """Name all modules of a package."""
        names = [inside.removesuffix(".py").removesuffix("/__init__") for inside, _ in self.files(root) if inside.endswith(".py")]
        return [name.replace("/", ".") for name in names]

    def _of_project(self) -> list[str]:
        """Name the project's own package, and those beside it in its source folder."""
        sources = {folder.parent for folder in _folders(self._spec(self.own or ""))}
        # A project without a source folder has its tests and scripts beside the package.
        entries = [entry for source in sources if not (source / "pyproject.toml").exists() for entry in source.iterdir()]
        siblings = {entry.stem for entry in entries if entry.suffix == ".py" or (entry.is_dir() and any(entry.glob("*.py")))}
        return sorted({*([self.own] if self.own else []), *siblings})

    def place(self, root: str) -> Path | None:
        """Return a package's folder, or the file of one that is a single module."""
        spec = self._spec(root)
        folders = _folders(spec)
        if folders:
            return folders[0]
        return Path(spec.origin) if spec is not None and spec.origin is not None else None

    def is_installed(self, module: str) -> bool:
        """Return whether a module belongs to none of these packages."""
        return self._spec(module.partition(".")[0]) is None

    def _file_of(self, module: str) -> Path | None:
        """Return the file of a module; None if it is not in one of these packages."""
        root, *parts = module.split(".")
        spec = self._spec(root)
        for folder in _folders(spec):
            place = folder.joinpath(*parts)
            for file in (place / "__init__.py", place.with_name(f"{place.name}.py")):
                if file.is_file():
                    return file
        alone = spec is not None and spec.origin is not None and not spec.submodule_search_locations and not parts
        return Path(str(spec.origin)) if spec is not None and alone else None

    def _spec(self, root: str) -> ModuleSpec | None:
        if not root or root in sys.stdlib_module_names or root == "kedro_cloudtrain":
            return None
        try:
            spec = importlib.util.find_spec(root)
        except (ImportError, ValueError):
            return None
        if spec is None:
            return None  # An import that the module only tries.
        places = [*_folders(spec), *([Path(spec.origin)] if spec.origin else ())]
        installed = all("site-packages" in place.parts or "dist-packages" in place.parts for place in places)
        return None if installed and root != self.own else spec


def _place_of(module: str, file: Path) -> str:
    """Return a module's path in the archive."""
    place = module.replace(".", "/")
    return f"{place}/{file.name}" if file.name == "__init__.py" else f"{place}.py"


def _folders(spec: ModuleSpec | None) -> list[Path]:
    return [Path(place) for place in (spec.submodule_search_locations or ())] if spec is not None else []


def _kept_by_git(folder: Path, above: frozenset[Path] = frozenset()) -> list[Path]:
    """List a folder's files but those that git ignores; outside a repository, all but caches and hidden ones.

    Linked folders and submodules are listed as any other folder.

    Args:
        folder: the folder.
        above: the folders that are being listed: a link to one of them is not followed.
    """
    command = ["git", "-C", str(folder), "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    try:
        names = subprocess.run(command, capture_output=True, check=True, timeout=60).stdout.decode().split("\0")
        paths = [folder / name for name in names if name]
    except (OSError, subprocess.SubprocessError):
        # Not a repository: an unpacked archive, an image. Hidden files (.env) are not code, and may hold secrets.
        paths = [path for path in folder.rglob("*") if not any(part.startswith(".") for part in path.relative_to(folder).parts)]
        paths = [path for path in paths if path.is_file() or path.is_symlink()]
    above |= {folder.resolve()}
    # To git, a link to a folder and a submodule are each one entry.
    inner = [path for path in paths if path.is_dir() and path.resolve() not in above]
    paths += [file for path in inner for file in _kept_by_git(path, above)]
    files = sorted(path for path in paths if path.is_file() and path.suffix != ".pyc" and "__pycache__" not in path.parts)
    # If git ignores the whole package (one that is installed below an ignored environment), its modules travel nevertheless.
    return files or sorted(folder.rglob("*.py"))
