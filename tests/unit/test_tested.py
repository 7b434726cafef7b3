"""Every p and q of the atlas and the biology says its test, its universe, its correction and its n."""

import importlib
import inspect
import pkgutil
import re

import pandas as pd
import pytest
import wherein.analysis
from wherein.analysis import abundance, enrichment, tested
from wherein.analysis.tested import STATED, TESTED, stated, write_tested

TOLD = re.compile(r"(?:p|q)(?:_.+)?|.+_(?:p|q)")
"""Columns that hold a probability, or a rate of false discoveries."""


def written() -> dict[str, tuple[str, ...]]:
    """Columns of every table that the library writes with a statement, by its name in TESTED."""
    found = {}
    for module in pkgutil.iter_modules(wherein.analysis.__path__):
        own = importlib.import_module(f"wherein.analysis.{module.name}")
        for columns, table in re.findall(r'write_tested\([^\n]*, (\w+), "(\w+)"\)', inspect.getsource(own)):
            found[table] = tuple(getattr(own, columns))
    return found | {"abundance": tuple(abundance.PROTEINS.names)}


def test_every_statement_belongs_to_a_table():
    assert set(written()) | {"organelles"} == set(TESTED)


@pytest.mark.parametrize("table", sorted(TESTED))
def test_a_statement_speaks_of_every_column(table):
    own = TESTED[table]
    assert all(own)
    if table == "organelles":
        return
    columns = written()[table]
    assert set(own.n) <= set(columns)
    probable = [name for name in columns if TOLD.fullmatch(name)]
    assert probable
    words = set(re.findall(r"\w+", f"{own.test}; {own.universe}; {own.correction}"))
    several = [name for name in probable if name not in ("p", "q")]
    assert set(several) <= words, "a column whose test or correction is not said"
    assert "q" not in probable or re.search(r"\bq\b.*: ?Benjamini-Hochberg", own.correction)


def test_no_table_with_p_is_written_without_a_statement():
    for module in pkgutil.iter_modules(wherein.analysis.__path__):
        if module.name == "leaks":
            continue  # of the stage evaluate
        own = importlib.import_module(f"wherein.analysis.{module.name}")
        for columns in re.findall(r"write_tsv\(.*, (\w+)\)\n", inspect.getsource(own)):
            names = getattr(own, columns, ())
            if set(STATED) <= set(names):
                continue  # words of its own in every row
            assert not [name for name in names if TOLD.fullmatch(name)], (module.name, columns)


def test_the_statement_stands_last_and_in_every_row(tmp_path):
    rows = pd.DataFrame({"cluster": ["1", "2"], "p": [0.1, 0.2]})
    path = tmp_path / "table.tsv"
    write_tested(path, rows, ("cluster", "p", "q"), "enrichment_groups")
    found = pd.read_csv(path, sep="\t")
    assert list(found.columns) == ["cluster", "p", "q", *STATED]
    assert found[list(STATED)].drop_duplicates().iloc[0].tolist() == list(TESTED["enrichment_groups"][:3])
    assert found[list(STATED)].notna().all().all()
    write_tested(path, rows.head(0), ("cluster", "p", "q"), "enrichment_groups")
    assert list(pd.read_csv(path, sep="\t").columns) == ["cluster", "p", "q", *STATED]
    with pytest.raises(KeyError):
        stated(rows, "nothing")


def test_modules_are_found():
    assert written()["enrichment"] == enrichment.COLUMNS
    assert tested.__doc__
