"""The project's own code as it travels: an archive of the packages that a function needs, and a digest of what it imports."""

from __future__ import annotations

import ast
import dataclasses
import hashlib
import importlib.util
import io
import subprocess
import sys
import threading
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

from kedro_cloudtrain.errors import ConfigError
from kedro_cloudtrain.jobs.worker_archive import add_member

if TYPE_CHECKING:
    from collections.abc import Iterator
    from importlib.machinery import ModuleSpec


@dataclasses.dataclass(frozen=True)
class Code:
    """What a function's module needs of the code that is no installed package.

    Attributes:
        archive: a zip of whole packages: those of the function's module and of whatever it imports; the same files give the same bytes.
        digest: sha256 of the modules that it imports, directly or through others, and of the packages' files that are no modules. So a
            change in a module of another node is no change of this one. An import by a computed name is not seen: name such a module
            in an ordinary import too.
    """

    archive: bytes = dataclasses.field(repr=False)
    digest: str


class Codes:
    """The code of a run's functions, as it is when the first of them is asked for: nodes of the same module share it.

    Args:
        own: the project's own package, which travels even where it is installed as a wheel.
    """

    def __init__(self, own: str | None = None) -> None:
        self._packages = _Packages(own)
        self._lock = threading.Lock()
        self._codes: dict[str, Code] = {}
        self._files: dict[str, list[tuple[str, Path]]] = {}

    def of(self, module: str) -> Code:
        """Gather the code of a module.

        Raises:
            ConfigError: it is in no file.
        """
        with self._lock:
            if module not in self._codes:
                self._codes[module] = self._gather(module)
            return self._codes[module]

    def _gather(self, module: str) -> Code:
        reached = dict(self._packages.reached(module))
        roots = {name.partition(".")[0] for name in reached}
        for root in roots - set(self._files):
            self._files[root] = list(self._packages.files(root))
        # What is imported travels even where git ignores it: a version that a build has written, say.
        imported = [(_place_of(name, file), file) for name, file in reached.items()]
        files = dict(sorted([*imported, *(file for root in roots for file in self._files[root])]))
        if not reached and not self._packages.is_installed(module):
            raise ConfigError(f"The code of {module} is in no file that could travel.")
        sums = hashlib.sha256()
        needed = {file.resolve() for file in reached.values()}
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
            for inside, file in files.items():
                content = file.read_bytes()
                add_member(archive, inside, content)
                if file.suffix != ".py" or file.resolve() in needed:
                    sums.update(f"{inside}\0{hashlib.sha256(content).hexdigest()}\n".encode())
        return Code(buffer.getvalue(), sums.hexdigest())


@dataclasses.dataclass(frozen=True)
class _Packages:
    """The importable packages that no installer has put where machines get theirs too: a source tree's, an editable installation's."""

    own: str | None

    def reached(self, module: str) -> Iterator[tuple[str, Path]]:
        """Give each module that an import of `module` runs, by name, as far as it is in one of these packages."""
        seen: set[str] = set()
        waiting = [module]
        while waiting:
            name = waiting.pop()
            if name in seen:
                continue
            seen.add(name)
            parent = name.rpartition(".")[0]
            if parent:
                # Whatever it is itself: a package without an __init__.py has its own parents, whose files an import runs, too.
                waiting.append(parent)
            file = self._file_of(name)
            if file is None:
                continue
            yield name, file
            waiting += _imports(file, name if file.name == "__init__.py" else parent)

    def files(self, root: str) -> Iterator[tuple[str, Path]]:
        """Give a package's files by their paths in the archive; git-ignored ones stay."""
        spec = self._spec(root)
        if spec is not None and spec.origin is not None and not spec.submodule_search_locations:
            yield Path(spec.origin).name, Path(spec.origin)
        for folder in _folders(spec):
            for file in _kept_by_git(folder):
                yield f"{root}/{file.relative_to(folder).as_posix()}", file

    def is_installed(self, module: str) -> bool:
        """Tell whether a module is of none of these packages."""
        return self._spec(module.partition(".")[0]) is None

    def _file_of(self, module: str) -> Path | None:
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
            return None  # An import that is only tried.
        places = [*_folders(spec), *([Path(spec.origin)] if spec.origin else ())]
        installed = all("site-packages" in place.parts or "dist-packages" in place.parts for place in places)
        return None if installed and root != self.own else spec


def _place_of(module: str, file: Path) -> str:
    """Give a module's path in the archive."""
    place = module.replace(".", "/")
    return f"{place}/{file.name}" if file.name == "__init__.py" else f"{place}.py"


def _folders(spec: ModuleSpec | None) -> list[Path]:
    return [Path(place) for place in (spec.submodule_search_locations or ())] if spec is not None else []


def _imports(file: Path, package: str) -> Iterator[str]:
    """Name whatever a module may import, the names of a `from` import too: they may be modules."""
    try:
        tree = ast.parse(file.read_bytes())
    except SyntaxError as error:
        raise ConfigError(f"{file}, line {error.lineno}: {error.msg}.") from None
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            yield base
            yield from (f"{base}.{alias.name}" for alias in node.names)


def _kept_by_git(folder: Path) -> list[Path]:
    """List a folder's files but those that git ignores; all but caches and hidden ones where the folder is in no repository."""
    command = ["git", "-C", str(folder), "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    try:
        said = subprocess.run(command, capture_output=True, check=True, timeout=60).stdout
        listed = [folder / name for name in said.decode().split("\0") if name]
    except (OSError, subprocess.SubprocessError):
        # No repository: an unpacked archive, an image. What is hidden (.env) is no code.
        listed = [path for path in folder.rglob("*") if not any(part.startswith(".") for part in path.relative_to(folder).parts)]
    found = sorted(file for file in listed if file.is_file() and file.suffix != ".pyc" and "__pycache__" not in file.parts)
    # Where git ignores the package itself (an installed one, below an ignored environment), its modules travel all the same.
    return found or sorted(folder.rglob("*.py"))
