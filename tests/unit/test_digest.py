"""Digests: they change with what a script does, and with nothing else."""

import ast
from pathlib import Path

import pytest
from wherein import digest as digests
from wherein.digest import code_digest, digest, import_closure

FILES = {
    "run.py": 'from wherein.a import f\nif __name__ == "__main__":\n    from wherein import b\n    f(b.x)\n',
    "other.py": "import os\n",
    "wherein/__init__.py": '"""Library."""\n__version__ = "1"\n',
    "wherein/a.py": "import numpy\nimport wherein.deep.c\ndef f(x):\n    return x\n",
    "wherein/b.py": "x = 1\n",
    "wherein/deep/__init__.py": "",
    "wherein/deep/c.py": "from wherein.a import f\n",
    "wherein/unused.py": "x = 1\n",
}


@pytest.fixture
def scripts(tmp_path: Path) -> Path:
    for name, content in FILES.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    return tmp_path


def after(scripts: Path, name: str, content: str) -> str:
    (scripts / name).write_text(content)
    # one process parses a file once: a rerun is another process
    for function in (digests._imports, digests._source, digests._contents, digests.memory, code_digest):
        function.cache_clear()
    return code_digest("run", scripts)


def test_imports_are_followed_at_any_depth(scripts):
    found = import_closure(scripts / "run.py", scripts)
    assert {str(path.relative_to(scripts)) for path in found} == set(FILES) - {"other.py", "wherein/unused.py"}


@pytest.mark.parametrize(
    ("name", "content"),
    [
        (
            "wherein/a.py",
            "# why\nimport numpy\nimport wherein.deep.c\n\ndef f(x):\n    '''Doc.'''\n    return x  # x\n",
        ),
        ("wherein/unused.py", "x = 2\n"),
        ("other.py", "import sys\n"),
        ("wherein/__init__.py", '"""Another."""\n__version__ = "2"\n'),
        ("wherein/b.py", '"""Doc."""\nx = (\n    1\n)\n'),
    ],
)
def test_what_changes_nothing(scripts, name, content):
    before = code_digest("run", scripts)
    assert after(scripts, name, content) == before


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("wherein/a.py", FILES["wherein/a.py"].replace("return x", "return -x")),
        ("wherein/b.py", "x = '1'\n"),
        ("wherein/deep/c.py", ""),
        ("run.py", FILES["run.py"].replace("b.x", "b.x, 1")),
        ("wherein/__init__.py", "__version__ = '1'\nlimit = 1\n"),
    ],
)
def test_what_changes_something(scripts, name, content):
    before = code_digest("run", scripts)
    assert after(scripts, name, content) != before


def test_a_function_of_docstring_alone_stays_a_function(scripts):
    assert after(scripts, "wherein/b.py", "def x():\n    '''Doc.'''\n") == after(
        scripts, "wherein/b.py", "def x():\n    pass\n"
    )


def test_digest_of_content():
    assert digest({"a": 1, "b": [1.5]}) == digest({"b": [1.5], "a": 1})
    assert digest([1]) != digest(["1"])
    assert len(digest("x")) == 12
    assert digest("x", 20).startswith(digest("x"))


def test_no_module_of_the_library_is_imported_relatively():
    # a relative import would not be followed
    for path in (digests.SCRIPTS / "wherein").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            assert not (isinstance(node, ast.ImportFrom) and node.level), path


def test_data_that_a_module_reads_counts(scripts, monkeypatch):
    monkeypatch.setitem(digests.DATA_OF, "wherein/b.py", "data")
    monkeypatch.setitem(digests.DATA_OF, "wherein/unused.py", "elsewhere")
    for folder in ("data", "elsewhere"):
        (scripts / folder).mkdir()
    before = code_digest("run", scripts)
    assert after(scripts, "elsewhere/table.tsv", "1") == before
    assert after(scripts, "data/table.tsv", "1") != before


def test_data_folders_are_there():
    for module, folder in digests.DATA_OF.items():
        assert (digests.SCRIPTS / module).is_file()
        assert any((digests.SCRIPTS / folder).iterdir())


def fresh_memory(folder: Path, monkeypatch) -> None:
    monkeypatch.chdir(folder)
    for function in (digests._imports, digests._source, digests._contents, digests.memory, code_digest):
        function.cache_clear()


def test_what_was_read_once_is_not_parsed_again(scripts, monkeypatch):
    (scripts / ".snakemake").mkdir()
    fresh_memory(scripts, monkeypatch)
    before = code_digest("run", scripts)
    fresh_memory(scripts, monkeypatch)
    monkeypatch.setattr(digests.ast, "parse", lambda *args, **words: pytest.fail("parsed"))
    assert code_digest("run", scripts) == before


@pytest.mark.parametrize(
    "content", ["", "{", "[]", '{"made_by": "another", "files": {"x": ["y", []]}}', '{"made_by": 1}']
)
def test_a_damaged_memory_or_one_of_another_version_is_made_anew(scripts, monkeypatch, content):
    before = code_digest("run", scripts)
    (scripts / ".snakemake").mkdir()
    path = scripts / ".snakemake/wherein-code.json"
    path.write_text(content)
    fresh_memory(scripts, monkeypatch)
    assert code_digest("run", scripts) == before
    assert "run.py" not in path.read_text()
    assert len(digests.Memory(path).known) == len(FILES) - 2


def test_a_folder_in_which_nothing_can_be_written_is_no_obstacle(scripts, monkeypatch):
    before = code_digest("run", scripts)
    (scripts / ".snakemake").write_text("not a folder")
    fresh_memory(scripts, monkeypatch)
    assert code_digest("run", scripts) == before
    assert not list(scripts.glob(".snakemake/*"))


def test_a_changed_file_counts_in_spite_of_the_memory(scripts, monkeypatch):
    (scripts / ".snakemake").mkdir()
    fresh_memory(scripts, monkeypatch)
    before = code_digest("run", scripts)
    assert after(scripts, "wherein/b.py", "x = 2\n") != before
    assert after(scripts, "wherein/b.py", FILES["wherein/b.py"]) == before
