"""Digests of content and of code, which tell Snakemake what has to run again."""

import ast
import hashlib
import json
import os
import sys
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from wherein.atomic import atomic_path

PACKAGE = "wherein"
SCRIPTS = Path(__file__).resolve().parent.parent

DATA_OF = {
    "wherein/labels.py": "../../resources/vocabularies",
    "wherein/simulate/proteins.py": "../../resources/demo",
    "wherein/views/pages.py": "wherein/views/templates",
}
"""Folders of files that a module reads as it reads its own code, relative to the folder of the scripts."""


def digest(content: Any, length: int = 12) -> str:
    """Hexadecimal sha256 of JSON-able content, cut to `length` characters."""
    text = json.dumps(content, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:length]


def files_digest(paths: Iterable[str | Path]) -> str:
    """Digest of the state of files: size and time of change of each, nothing for one that is not there."""
    states = []
    for path in paths:
        try:
            found = os.stat(path)
            states.append([str(path), found.st_size, found.st_mtime_ns])
        except OSError:
            states.append([str(path)])
    return digest(states)


class Source(NamedTuple):
    """What counts of a Python file.

    Attributes:
        tree: sha256 of its syntax tree without docstrings.
        imports: dotted names that it imports, at any depth, of the library alone.
    """

    tree: str
    imports: tuple[str, ...]


class Memory:
    """What counts of files that were parsed before, by their content: parsing the library takes seconds, and every call
    of Snakemake and every job on a cluster asks for it.

    It is a convenience: a file that is missing, damaged or cannot be written costs time and nothing else.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        # what is remembered holds for this reading of files and this Python's trees alone
        self.made_by = hashlib.sha256(Path(__file__).read_bytes() + sys.version.encode()).hexdigest()
        self.known: dict[str, Source] = {}
        self.new = False
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
            if found["made_by"] == self.made_by:
                self.known = {key: Source(tree, tuple(imports)) for key, (tree, imports) in found["files"].items()}
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            pass

    def save(self) -> None:
        """Write down what is new, for the next process."""
        if not self.new or not self.path.parent.is_dir():
            return
        try:
            with atomic_path(self.path) as part:
                part.write_text(json.dumps({"made_by": self.made_by, "files": self.known}), encoding="utf-8")
        except OSError:
            pass
        self.new = False


@cache
def memory() -> Memory:
    """The memory of the run in whose folder this process is."""
    return Memory(Path(".snakemake", "wherein-code.json").absolute())


@cache
def code_digest(script: str, scripts: Path = SCRIPTS) -> str:
    """Digest of what a script runs: its own and its imported library modules' syntax trees, and their own data.

    Comments, docstrings and layout do not count, so that a better docstring retrains nothing.

    Args:
        script: name of a script without `.py`, in `scripts`.
        scripts: the folder of the scripts, which holds the library.

    Returns:
        12 hexadecimal characters.
    """
    return closure_digest(scripts / f"{script}.py", scripts)


@cache
def module_digest(module: str, scripts: Path = SCRIPTS) -> str:
    """The same for a module of the library that is chosen by the configuration, and that no script imports by name.

    Args:
        module: its dotted name.
        scripts: the folder of the scripts, which holds the library.

    Returns:
        12 hexadecimal characters.
    """
    return closure_digest(scripts.joinpath(*module.split(".")).with_suffix(".py"), scripts)


def closure_digest(start: Path, scripts: Path) -> str:
    """Digest of a Python file and of all that it imports of the library."""
    found = import_closure(start, scripts)
    memory().save()
    names = {path.relative_to(scripts).as_posix(): path for path in sorted(found)}
    data = [_contents(scripts / DATA_OF[name]) for name in names if name in DATA_OF]
    return digest([[(name, _source(path).tree) for name, path in names.items()], data])


def import_closure(start: Path, scripts: Path = SCRIPTS) -> set[Path]:
    """Files of the library that `start` imports, directly or not, at any depth of its code.

    Args:
        start: a Python file.
        scripts: the folder that holds the library.

    Returns:
        Paths, `start` included.
    """
    found: set[Path] = set()
    todo = [start]
    while todo:
        path = todo.pop()
        if path in found:
            continue
        found.add(path)
        todo.extend(_imports(path, scripts))
    return found


@cache
def _contents(folder: Path) -> list[tuple[str, str]]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return [(path.name, hashlib.sha256(path.read_bytes()).hexdigest()) for path in files]


@cache
def _imports(path: Path, scripts: Path) -> tuple[Path, ...]:
    files: set[Path] = set()
    for name in _source(path).imports:
        parts = name.split(".")
        for depth in range(1, len(parts) + 1):
            stem = scripts.joinpath(*parts[:depth])
            files.update(file for file in (stem / "__init__.py", stem.with_suffix(".py")) if file.is_file())
    return tuple(sorted(files))


@cache
def _source(path: Path) -> Source:
    content = path.read_bytes()
    key = hashlib.sha256(content).hexdigest()
    known = memory().known
    if key not in known:
        known[key] = _read(ast.parse(content, filename=str(path)))
        memory().new = True
    return known[key]


def _read(tree: ast.Module) -> Source:
    """What counts of a syntax tree, which is changed in place: what goes holds no imports."""
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            names.add(node.module)
            # `from package import module` names a file only in its last part
            names.update(f"{node.module}.{alias.name}" for alias in node.names)
        body = getattr(node, "body", None)
        if isinstance(body, list):
            node.body = [item for item in body if not _says_nothing(item)] or [ast.Pass()]
    # hashed here: many scripts share a module, and its tree is long
    dumped = hashlib.sha256(ast.dump(tree, include_attributes=False).encode()).hexdigest()
    return Source(dumped, tuple(sorted(name for name in names if name.split(".")[0] == PACKAGE)))


def _says_nothing(node: ast.AST) -> bool:
    """Whether a statement is a docstring, or the version, which every release raises and which computes nothing."""
    if isinstance(node, ast.Assign):
        return [ast.unparse(target) for target in node.targets] == ["__version__"]
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


def sha256_of(path: str | Path) -> str:
    """sha256 of a file, as 64 hexadecimal characters."""
    with Path(path).open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()
