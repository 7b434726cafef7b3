"""The benchmark of the atlas: what its last line says of all steps that ran."""

import importlib.util
import json
import sys
from pathlib import Path

import pytest

ATLAS = Path(__file__).parents[2] / "benchmarks" / "atlas.py"


@pytest.fixture
def atlas(monkeypatch):
    spec = importlib.util.spec_from_file_location("benchmark_atlas", ATLAS)
    module = importlib.util.module_from_spec(spec)
    # what the benchmark sets for its own process is not for other tests
    monkeypatch.setattr(sys, "path", [*sys.path])
    for library in ("OMP", "OPENBLAS", "MKL", "NUMBA"):
        monkeypatch.setenv(f"{library}_NUM_THREADS", "1")
    spec.loader.exec_module(module)
    peaks = {"whole_atlas": 1024, "heterogeneity_whole": 3072, "linkage_ours": 512}

    def apart(what, number, width, folder="", threads=1):
        peak = peaks.get(what, 100) * (4 if number == 3000 else 1)
        return {"seconds": 2.0, "processor": 1.0, "peak_mb": float(peak), "input_mb": 50.0, "what": len(what)}

    monkeypatch.setattr(module, "apart", apart)
    return module


def told(atlas, monkeypatch, capsys, *options):
    monkeypatch.setattr(sys, "argv", ["atlas.py", *options])
    atlas.main()
    return json.loads(capsys.readouterr().out.splitlines()[-1])


def test_peak_is_that_of_all_steps_and_of_the_law(atlas, monkeypatch, capsys):
    few = ("--cells", "300", "--proteins", "40", "--law-features", "8")
    said = told(atlas, monkeypatch, capsys, *few, "--only", "clustering", "units", "groups")
    assert said["peak_gb"] == 3
    assert (said["heterogeneity_whole_mb"], said["groups_atlas_wall"], said["cluster_whole_processor"]) == (3072, 2, 1)
    said = told(atlas, monkeypatch, capsys, *few, "--only", "clustering", "law", "--law", "300", "3000")
    assert (said["peak_gb"], said["law_mb"]) == (4, {"300": 1024.0, "3000": 4096.0})
    chosen = told(atlas, monkeypatch, capsys, *few, "--only", "units", "--steps", "heterogeneity_whole")
    assert "heterogeneity_whole_wall" in chosen
    assert not {"units_atlas_wall", "audit_whole_wall"} & set(chosen)


def test_a_drawn_run_has_the_shape_that_was_asked_for(atlas, tmp_path):
    from wherein.analysis.aggregate import open_units

    atlas.draw_run(tmp_path, 80, 8, per_field=2, per_protein=2)
    units = open_units(**{name: atlas.units_in(tmp_path)[name] for name in ("embeddings", "fields", "cells")})
    assert (len(units.table), units.table["protein"].nunique(), len(units.features)) == (80, 20, 8)
    assert units.table.groupby("protein")["field_id"].nunique().eq(2).all()
    assert len((tmp_path / "sets.gmt").read_text().splitlines()) == 9373
