"""What a run costs: jobs by the files that are there, bytes to fetch, disk, hours, and the page that tells them."""

import os
import re
import time
from itertools import product
from pathlib import Path

import pandas as pd
import pytest
from wherein.cost.fetch import Wanted, cached_names, estimated, fetches, remote_files
from wherein.cost.geometry import COLUMNS, UNITS, Geometry, Measured, geometry_of, read_measured
from wherein.cost.jobs import STAGES, Plan, all_jobs
from wherein.cost.table import cost_rows
from wherein.cost.volumes import Estimate, Item, bytes_of, disk, hours, spread
from wherein.settings import check_config, for_source, models_of_source
from wherein.shards import COLUMNS as SHARD_COLUMNS
from wherein.shards import Shard
from wherein.tables import FIELDS, FILES, REMOTE, write_table
from wherein.transfer.cache import Cache
from wherein.views.cost import judged_fields, write_cost

ROOT = Path(__file__).resolve().parents[2]
MEASURED = ROOT / "resources" / "measured.tsv"

SHARDS = (
    Shard("a-0001", "a", ("nucleus", "protein"), (("f1", "v"), ("f2", "v"))),
    Shard("a-0002", "a", ("nucleus", "protein"), (("f3", "v"),)),
    Shard("b-0001", "b", ("protein",), (("g1", "v"),)),
)
PLAN = Plan(SHARDS, {"a": "hpa", "b": "simulated"}, {"classic": ["a", "b"], "net": ["a"]}, ["net"],
            {"net": "published"}, ["go"], {"a": ["own"]}, {"b": {"log-mce": [], "unet": ["own"]}},
            ["unet"])  # fmt: skip


def finish(root: Path, plan: Plan = PLAN) -> None:
    """Write what all jobs would write, each stage a second after the one before."""
    moment = time.time() - 1000
    catalog = root / "results/catalog/fields.parquet"
    catalog.parent.mkdir(parents=True, exist_ok=True)
    catalog.touch()
    os.utime(catalog, (moment, moment))
    names = {
        "shard": [shard.name for shard in plan.shards], "model": list(plan.works_on), "weights": ["published"],
        "gene_sets": list(plan.gene_sets), "segmenter": ["own"], "method": ["log-mce", "unet"], "grid": ["256px"],
        "made_sets": list(plan.made_sets), "contrast": list(plan.contrasts),
    }  # fmt: skip
    for number, stage in enumerate(STAGES, 1):
        for pattern in stage.outputs:
            for values in product(*(names[wildcard] for wildcard in stage.per)):
                path = root / pattern.format(**dict(zip(stage.per, values, strict=True)))
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text("x")
                os.utime(path, (moment + number, moment + number))


def to_do(root: Path, plan: Plan = PLAN) -> dict[str, int]:
    found: dict[str, int] = {}
    for job in all_jobs(plan, str(root)):
        found[job.stage] = found.get(job.stage, 0) + (not job.done)
    return {stage: count for stage, count in found.items() if count}


def rules() -> dict[str, str]:
    found = {}
    for file in sorted((ROOT / "workflow" / "rules").glob("*.smk")):
        parts = re.split(r"^(?:rule|checkpoint) (\w+):$", file.read_text(), flags=re.M)
        found.update(zip(parts[1::2], parts[2::2], strict=True))
    return found


def test_every_rule_is_a_stage_with_the_same_outputs():
    stages = {stage.name: set(stage.outputs) for stage in STAGES}
    # done before the cost is asked, or the asking itself
    others = {"catalog", "fetch_release", "cost"}
    targets = {name for name, text in rules().items() if "output:" not in text}
    # asked for by targets of their own (all_index, all_export, all_packages, all_aligned, all_aggregates, find): no run
    # reads what they write
    apart = {"index_crops", "crop_statistics", "export_crops", "export_model", "aggregate", "search_policy"}
    apart |= {"align_models", "align_releases", "plot_aligned", "find_alike"}
    assert set(rules()) - others - targets - apart == set(stages)
    for name in set(stages) | others:
        assert not re.search(r'"results/(index|statistics|export|aligned|aggregates|find)\b', rules()[name]), name
    for name, outputs in stages.items():
        block = re.search(r"^    output:\n(.*?)^    \w+:", rules()[name], re.M | re.S).group(1)
        written = set(re.findall(r'"((?:results|resources)/[^"]+)"', block))
        assert written == outputs, name


def test_every_benchmark_is_where_the_rule_writes_it():
    for stage in STAGES:
        assert f'"{stage.benchmark}"' in rules()[stage.name], stage.name


def test_nothing_is_done_before_a_run(tmp_path):
    found = to_do(tmp_path)
    assert found["download"] == 2
    assert found["simulate"] == 1
    # a network outlines source a, and source b is drawn: two methods are judged on it
    assert (found["segment_network"], found["segment"], found["segment_beside"]) == (2, 1, 2)
    assert found["samples"] == found["evaluate_segmentation"] == 1
    # both networks take the same weights
    assert found["train_segmenter"] == 1
    # the network works on the shards of source a alone
    assert found["embed"] == 3 + 2
    assert found["fetch_weights"] == found["fetch_gene_sets"] == found["build_site"] == 1
    assert found["plot_model"] == 2
    jobs = all_jobs(PLAN, str(tmp_path))
    asking = [(job.stage, job.model or job.method or job.item, job.shard) for job in jobs if job.gpus]
    assert asking == [
        ("train_segmenter", "own", None),
        ("segment_network", None, "a-0001"),
        ("segment_network", None, "a-0002"),
        ("embed", "net", "a-0001"),
        ("embed", "net", "a-0002"),
        ("segment_beside", "unet", "b-0001"),
    ]
    assert not any(job.gpus for job in all_jobs(PLAN._replace(gpu_models=[], gpu_methods=[]), str(tmp_path)))


def test_only_segmenters_that_outline_are_trained(tmp_path):
    unused = PLAN._replace(networks={"a": []}, judged={"b": {"log-mce": []}})
    assert "train_segmenter" not in to_do(tmp_path, unused)
    judged = unused._replace(judged={"b": {"unet": ["own"]}})
    assert to_do(tmp_path, judged)["train_segmenter"] == 1
    # a configured source without shards trains nothing
    assert "train_segmenter" not in to_do(tmp_path, judged._replace(shards=SHARDS[:2]))


def test_nothing_is_judged_where_no_outlines_are_known(tmp_path):
    found = to_do(tmp_path, PLAN._replace(judged={}))
    assert "segment_beside" not in found
    assert "evaluate_segmentation" not in found
    # known outlines of people, by which the method in use alone is judged
    found = to_do(tmp_path, PLAN._replace(judged={"a": {}}))
    assert found["evaluate_segmentation"] == 1
    assert "segment_beside" not in found


def test_nothing_is_to_do_after_a_run(tmp_path):
    finish(tmp_path)
    assert to_do(tmp_path) == {}


def test_a_lost_file_that_nobody_needs_stays_lost(tmp_path):
    finish(tmp_path)
    (tmp_path / "results/masks/b-0001.zarr").unlink()
    assert to_do(tmp_path) == {}


def test_lost_pages_bring_back_what_they_are_made_from(tmp_path):
    finish(tmp_path)
    (tmp_path / "results/report/site").unlink()
    assert to_do(tmp_path) == {"build_site": 1}
    (tmp_path / "results/crops/b-0001.zarr").unlink()
    found = to_do(tmp_path)
    # the pages need the crops; what else reads them runs again
    assert (found["crop"], found["embed"], found["split"], found["build_site"]) == (1, 1, 1, 1)
    assert "segment" not in found
    # the network does not work on source b, but the folds and the samples, which it needs, do
    assert (found["samples"], found["atlas"], found["evaluate"]) == (1, 2, 2)
    assert "plot_qc" not in found
    (tmp_path / "results/masks/b-0001.zarr").unlink()
    assert to_do(tmp_path)["segment"] == 1


def test_a_segmenter_that_was_trained_anew_outlines_anew(tmp_path):
    finish(tmp_path)
    os.utime(tmp_path / "results/segmenters/own/weights.npz")
    found = to_do(tmp_path)
    assert "train_segmenter" not in found
    assert (found["segment_network"], found["segment_beside"], found["crop"]) == (2, 1, 2)
    assert "segment" not in found


def test_another_judged_method_is_tried_on_what_is_there(tmp_path):
    finish(tmp_path)
    more = {"b": {**PLAN.judged["b"], "whole_cells": []}}
    found = to_do(tmp_path, PLAN._replace(judged=more))
    assert found == {"segment_beside": 1, "evaluate_segmentation": 1, "build_site": 1}


def test_weights_are_fetched_where_a_job_needs_them(tmp_path):
    finish(tmp_path)
    (tmp_path / "resources/weights/published.npz").unlink()
    assert to_do(tmp_path) == {}
    (tmp_path / "results/report/site").unlink()
    (tmp_path / "results/embeddings/net/a-0001.parquet").unlink()
    found = to_do(tmp_path)
    # as Snakemake has it: who reads a file that has to be made runs, both shards of the network here
    assert (found["fetch_weights"], found["embed"], found["atlas"]) == (1, 2, 1)
    # the same weights, fetched anew, embed nothing again
    (tmp_path / "resources/weights/published.npz").touch()
    found = to_do(tmp_path)
    assert "fetch_weights" not in found
    assert found["embed"] == 1


def test_another_catalog_brings_back_what_reads_labels(tmp_path):
    finish(tmp_path)
    os.utime(tmp_path / "results/catalog/fields.parquet")
    found = to_do(tmp_path)
    assert set(found) == {"samples", "evaluate", "evaluate_segmentation", "atlas", "enrich", "heterogeneity", "balance",
                          "cluster", "cell_trees", "plot_clusters", "neighbours", "audit_labels", "evaluate_audit",
                          "plot_qc", "plot_segmentation", "plot_model", "break_down", "probe_leaks", "plot_scores",
                          "compare", "build_site", "prerank", "complexes", "plot_gene_sets", "cell_labels",
                          "plot_single_cells", "abundance"}  # fmt: skip


def test_each_model_is_asked_for_each_contrast(tmp_path):
    plan = PLAN._replace(contrasts=["drug", "heat"])
    jobs = [job for job in all_jobs(plan, str(tmp_path)) if job.stage == "contrast"]
    assert [job.model for job in jobs] == ["classic", "classic", "net", "net"]
    finish(tmp_path, plan)
    assert to_do(tmp_path, plan) == {}
    (tmp_path / "results/biology/net/contrasts/heat/proteins.tsv").unlink()
    os.utime(tmp_path / "results/biology/abundance_samples.parquet")
    assert to_do(tmp_path, plan)["contrast"] == 4


def test_new_shards_leave_the_old_ones_done(tmp_path):
    finish(tmp_path)
    more = Shard("a-0003", "a", ("nucleus", "protein"), (("f9", "v"),))
    found = to_do(tmp_path, PLAN._replace(shards=(*SHARDS, more)))
    assert (found["download"], found["qc"], found["segment_network"], found["crop"], found["embed"]) == (1, 1, 1, 1, 2)
    assert "simulate" not in found
    assert "segment" not in found
    assert "train_segmenter" not in found
    assert "evaluate_segmentation" not in found
    assert "fetch_weights" not in found


def test_a_newer_file_of_an_earlier_stage_counts(tmp_path):
    finish(tmp_path)
    os.utime(tmp_path / "results/qc/a-0001.parquet")
    found = to_do(tmp_path)
    assert "qc" not in found
    assert (found["segment_network"], found["crop"], found["embed"]) == (1, 1, 2)


def test_a_folder_has_the_time_of_its_stamp(tmp_path):
    finish(tmp_path)
    site = tmp_path / "results/report/site"
    site.unlink()
    site.mkdir()
    (site / ".snakemake_timestamp").touch()
    os.utime(site, (0, 0))
    assert to_do(tmp_path) == {}


def geometry(**changes) -> Geometry:
    known = Geometry((1000, 2000), "seen", 0.1, 2, 2, 100, 10.0, "counted")
    return known._replace(**changes)


def test_amounts_of_fields():
    assert geometry().amount("field", 3) == 3
    assert geometry().amount("megapixel", 3) == 6
    assert geometry().amount("image_megabyte", 3) == 6 * 2 * 2
    assert geometry().amount("cell", 3) == 30
    assert geometry().amount("unit", 3, "field") == 3
    assert geometry().amount("crop_megabyte", 3) == pytest.approx(30 * 2 * 2 * 100 * 100 / 1e6)
    assert geometry(cells=None).amount("crop_megabyte", 3) is None
    assert geometry(shape=None).amount("megapixel", 3) is None


def test_the_table_of_measured_figures_is_well_formed():
    lines = MEASURED.read_text().splitlines()
    assert tuple(lines[0].split("\t")) == COLUMNS
    rows = read_measured(MEASURED)
    assert len(rows) == len(lines) - 1, "no figure stands there twice"
    stages = {stage.name for stage in STAGES} | {"cells", "fetch"}
    for row in rows.values():
        assert row.what in stages
        assert row.per in UNITS or row.per == "mm2"
        assert row.value > 0
        assert row.n > 0
        assert re.fullmatch(r"20\d\d-\d\d-\d\d", row.date)
        assert row.source


SOURCES = {
    "hpa": {"kind": "hpa", "images": "https://images.example.org"},
    "lab": {"kind": "table", "roles": {}},
    "drawn": {"kind": "simulated", "field_px": 768, "mode": "four_roles"},
}
CROP = {"window_um": 40.0, "pixel_size_um": None, "without_nucleus": {"window_um": 10.0}}


def test_sizes_that_nobody_told_are_not_known(tmp_path):
    density = {("cells", "nucleus"): Measured("cells", "nucleus", "mm2", 1000.0, 5, "2026-01-01", "a run")}
    lab = geometry_of(SOURCES["lab"], CROP, 0.1, ["nucleus", "protein"], 2, [], tmp_path, density)
    assert lab.shape is None
    assert lab.cells is None
    assert lab.window_px == 400
    coarse = geometry_of(
        SOURCES["lab"], CROP | {"pixel_size_um": 0.2}, 0.1, ["nucleus", "protein"], 2, [], tmp_path, density
    )
    assert coarse.window_px == 200
    drawn = geometry_of(SOURCES["drawn"], CROP, 0.16, ["nucleus", "protein"], 2, [], tmp_path, density)
    assert drawn.shape == (768, 768)
    assert drawn.cells == pytest.approx(1000 * (768 * 0.16 / 1000) ** 2)
    hpa = geometry_of(SOURCES["hpa"], CROP, 0.08, ["protein", "reference"], 1, [], tmp_path, density)
    assert hpa.shape == (2048, 2048)
    assert hpa.window_px == 124
    assert hpa.cells is None, "nobody measured cells on a reference channel"


def test_finished_shards_tell_sizes_and_cells(tmp_path):
    for name in ("qc", "cells"):
        (tmp_path / f"results/{name}").mkdir(parents=True)
    qc = pd.DataFrame({"height": [100, 200, None], "width": [300, 300, None]}).astype("Int32")
    qc.to_parquet(tmp_path / "results/qc/lab-0001.parquet")
    cells = pd.DataFrame({"status": ["kept", "rejected", "kept", "kept"]})
    cells.to_parquet(tmp_path / "results/cells/lab-0001.parquet")
    found = geometry_of(SOURCES["lab"], CROP, 0.1, ["nucleus"], 2, ["lab-0001"], tmp_path, {})
    assert found.shape == (150, 300)
    assert found.cells == 1, "three kept cells in three fields, the unreadable one included"
    assert found.basis == "1 finished shard"


def fields_of(rows: list[tuple[str, str, dict[str, str | None]]]) -> pd.DataFrame:
    columns = ["source", "shard", *(name for name in FIELDS.names if name.startswith("uri_"))]
    return pd.DataFrame([{"source": source, "shard": shard, **uris} for source, shard, uris in rows]).reindex(
        columns=columns
    ).astype(object).where(lambda frame: frame.notna(), None)  # fmt: skip


def test_a_file_of_two_roles_is_fetched_once():
    one = "https://x.org/a.tif"
    table = fields_of([
        ("o", "o-0001", {"uri_nucleus": f"{one}#channel=0&z=max", "uri_protein": f"{one}#channel=1&z=max"}),
        ("o", "o-0001", {"uri_nucleus": "/data/a#1.tif#z=max", "uri_protein": "simulated:f/protein"}),
    ])  # fmt: skip
    assert list(remote_files(table)) == [("o", "o-0001", "nucleus", one)]


def test_each_file_counts_by_the_best_that_is_known_of_it():
    figure = {("fetch", ".jpg"): Measured("fetch", ".jpg", "megapixel", 1000.0, 3, "2026-01-01", "a run")}
    missing = {"https://x.org/a.tif": "protein", "https://x.org/b.tif": "nucleus", "https://x.org/c.jpg": "er"}
    nothing = Estimate(None, "")
    told = estimated(missing, {"https://x.org/a.tif": 70}, {"nucleus": 500.0}, nothing, geometry(), figure)
    assert told.value == 70 + 500 + 2000
    assert told.basis.startswith("1 files by the server's own size; 1 files by the mean of files of this source that")
    assert estimated(missing, {}, {}, Estimate(9.0, ""), geometry(), figure).value == 27
    unknown = estimated(missing, {}, {}, nothing, geometry(), figure)
    assert unknown == Estimate(None, "nothing tells the size of 2 files")
    assert estimated({}, {}, {}, nothing, geometry(), {}) == Estimate(0, "nothing to fetch")


def test_files_in_the_cache_are_told_from_those_to_fetch(tmp_path):
    urls = [f"https://x.org/{number}.jpg" for number in range(4)]
    rows = [("h", f"h-000{1 + (number > 1)}", {"uri_protein": f"{url}#z=max"}) for number, url in enumerate(urls)]
    write_table(
        tmp_path / "results/download/h-0001.parquet",
        pd.DataFrame([{"role": "protein", "bytes": 40, "status": "ok", "url": url} for url in urls[:2]]),
        FILES,
    )
    # the cache itself says where the file of a URL lies
    with Cache(tmp_path / "cache", 0).entries(urls[2:]) as entries:
        for url, entry in entries.items():
            entry.path.parent.mkdir(parents=True, exist_ok=True)
            entry.path.write_bytes(b"x" * 70)
            ending = ".json" if url == urls[2] else ".part.json"
            entry.path.with_suffix(ending).write_text("{}")
    assert len(cached_names(tmp_path / "cache")) == 1
    (found,) = fetches(fields_of(rows), {"h-0001"}, tmp_path, tmp_path / "cache", {}, {"h": geometry()}, {})
    assert found == Wanted("h", 4, 2, 1, 1, Estimate(70, "sizes on disk"),
                           Estimate(40, "1 files by the mean of files of this source that arrived"))  # fmt: skip


def test_no_cache_holds_nothing(tmp_path):
    assert cached_names(tmp_path / "none") == set()


def test_disk_is_measured_where_jobs_are_done_else_scaled(tmp_path):
    done = tmp_path / "results/masks/a-0001.zarr"
    (done / "labels").mkdir(parents=True)
    (done / "labels" / "c").write_bytes(b"x" * 90)
    item = Item({"shard": "a-0001"}, 3)
    there, write = disk("segment", [item], [(geometry(), 6)], tmp_path, None)
    assert (there.value, write) == (90, Estimate(180, "measured on 1 finished job of this run"))
    figure = Measured("segment", "", "megapixel", 10.0, 5, "2026-01-01", "the demo")
    there, write = disk("segment", [], [(geometry(), 6), (geometry(shape=(1000, 1000)), 1)], tmp_path, figure)
    assert (there.value, write.value) == (0, 10 * (6 * 2 + 1))
    assert write.basis == "10 bytes a megapixel of field: the demo, 2026-01-01"
    assert disk("segment", [], [(geometry(shape=None), 6)], tmp_path, figure)[1].value is None
    assert disk("segment", [], [(geometry(), 6)], tmp_path, None)[1] == Estimate(None, "not measured yet")
    assert disk("segment", [item], [], tmp_path, None)[1].value == 0


def test_hours_come_from_benchmarks_alone(tmp_path):
    path = tmp_path / "results/benchmark/qc/a-0001.tsv"
    path.parent.mkdir(parents=True)
    path.write_text("s\th:m:s\n36.0\t0:00:36\n")
    items = [Item({"shard": "a-0001"}, 4), Item({"shard": "a-0002"}, 4)]
    told = hours("qc", items, 400, tmp_path)
    assert told.value == pytest.approx(1.0)
    assert told.basis == "measured on 1 finished job of this run"
    assert hours("qc", items[1:], 400, tmp_path) == Estimate(None, "no job of this kind has run here yet")
    assert hours("qc", [], 0, tmp_path).value == 0


def test_samples_are_spread_evenly():
    assert spread(list(range(100)), 4) == [0, 25, 50, 75]
    assert spread([1, 2], 4) == [1, 2]


def test_bytes_of_files_and_folders(tmp_path):
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "one").write_bytes(b"123")
    (tmp_path / "a" / "b" / "two").write_bytes(b"4567")
    assert [bytes_of(tmp_path / name) for name in ("a", "a/one", "none")] == [7, 3, 0]


def test_rows_add_up_to_the_jobs(tmp_path):
    finish(tmp_path)
    for lost in ("crops/a-0002.zarr", "report/site", "evaluation/segmentation/curves.tsv"):
        (tmp_path / "results" / lost).unlink()
    for lost in ("methods/log-mce/b-0001.zarr", "methods/log-mce/b-0001.parquet",
                 "summaries/segment_beside/log-mce/b-0001.json"):  # fmt: skip
        (tmp_path / "results" / lost).unlink()
    jobs = all_jobs(PLAN, str(tmp_path))
    sizes = {"a": geometry(), "b": geometry()}
    levels = {"classic": ("classic", "cell"), "net": ("gapnet-pl", "field")}
    current = {"a-0001": 2, "a-0002": 1, "b-0001": 1}
    figures = {("segment", ""): Measured("segment", "", "megapixel", 10.0, 5, "2026-01-01", "the demo")}
    rows = cost_rows(jobs, PLAN, current, {"b-0001": 3}, [], sizes, levels, figures, tmp_path)
    assert sum(row.jobs for row in rows) == len(jobs)
    assert sum(row.to_do for row in rows) == sum(not job.done for job in jobs)
    assert sum(row.gpu_to_do for row in rows) == 1
    crop = next(row for row in rows if row.stage == "crop" and row.source == "a")
    assert (crop.jobs, crop.done, crop.fields, crop.fields_to_do, crop.images_to_do) == (2, 1, 3, 1, 2)
    net = next(row for row in rows if row.stage == "evaluate" and row.model == "net")
    assert (net.fields, net.fields_to_do, net.images_to_do) == (3, 3, 0)
    beside = {row.method: row for row in rows if row.stage == "segment_beside"}
    assert set(beside) == {"log-mce", "unet"}
    # three of the shard's fields have known outlines, of 2 megapixels each; masks are measured where all write them
    assert (beside["log-mce"].to_do, beside["log-mce"].fields_to_do, beside["log-mce"].disk_to_write) == (1, 3, 60)
    assert (beside["unet"].to_do, beside["unet"].disk_bytes) == (0, 3)
    trained = next(row for row in rows if row.stage == "train_segmenter")
    assert (trained.jobs, trained.to_do, trained.disk_bytes) == (1, 0, 4)


def test_fields_of_known_outlines(tmp_path):
    (tmp_path / "f1_cells.png").touch()
    config = {
        "sources": {
            "drawn": {"kind": "simulated"},
            "lab": {"kind": "table", "table": str(tmp_path / "fields.tsv"), "truth": {"cell": "{field_id}_cells.png"}},
            "hpa": {"kind": "hpa"},
        }
    }
    current = pd.DataFrame({"source": ["lab", "lab", "drawn", "hpa"], "field_id": ["f1", "f2", "f3", "f4"]})
    assert judged_fields(current, config)["field_id"].tolist() == ["f1", "f3"]
    assert judged_fields(current.head(0), config)["field_id"].tolist() == []


def generated(folder: Path, count: int) -> dict:
    """A catalog of a release, of which nothing has been fetched."""
    config: dict = {"sources": {"hpa": {"kind": "hpa", "release": "v23"}},
                    "models": {"net": {"kind": "gapnet-pl", "level": "field", "weights": "untrained"}}}  # fmt: skip
    check_config(config)
    colours = {"nucleus": "blue", "microtubules": "red", "er": "yellow", "protein": "green"}
    numbers = range(count)
    shards = [f"hpa-{number // 200 + 1:04d}" for number in numbers]
    fields = pd.DataFrame(
        {"field_id": [f"f{number}" for number in numbers], "version": "0" * 12, "shard": shards, "source": "hpa",
         "pixel_size_um": 0.08, "retired_in": [None if number else "v23" for number in numbers],
         **{f"uri_{role}": [f"https://x.org/{number}_{colour}.jpg#z=max" for number in numbers]
            for role, colour in colours.items()}}
    )  # fmt: skip
    (folder / "results/catalog").mkdir(parents=True)
    write_table(folder / "results/catalog/fields.parquet", fields, FIELDS)
    lines = [
        f"{shard}\thpa\tv23\tf{number}\t{'0' * 12}\t{','.join(colours)}\t0.08" for number, shard in enumerate(shards)
    ]
    (folder / "results/catalog/shards.tsv").write_text("\n".join(["\t".join(SHARD_COLUMNS), *lines]) + "\n")
    sizes = {"url": [f"https://x.org/{number}_blue.jpg" for number in numbers], "bytes": 1000, "revision": 0}
    write_table(folder / "results/catalog/remote.parquet", pd.DataFrame(sizes), REMOTE)
    return config


def priced(folder: Path, config: dict) -> tuple[pd.DataFrame, str]:
    """The table and the page."""
    run = {
        "works_on": {name: [own for own in config["sources"] if name in models_of_source(config, own)]
                     for name in config["models"]},
        "gpu_models": ["net"], "weights": {}, "gene_sets": [], "networks": {}, "judged": {}, "gpu_methods": [],
        "learned": {}, "ensembles": {}, "made_sets": [], "contrasts": [],
        "crop": {name: for_source(config, "crop", name) for name in config["sources"]},
    }  # fmt: skip
    catalog = "results/catalog"
    write_cost(config, run, f"{catalog}/fields.parquet", f"{catalog}/shards.tsv", f"{catalog}/remote.parquet",
               str(MEASURED), "cost.tsv", "cost.html")  # fmt: skip
    return pd.read_csv(folder / "cost.tsv", sep="\t"), (folder / "cost.html").read_text()


def test_the_cost_of_a_release_before_anything_is_fetched(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    table, page = priced(tmp_path, generated(tmp_path, 450))
    download = table[table["stage"] == "download"].iloc[0]
    # the retired field is not worked on, and its files are not fetched
    assert (download["jobs"], download["to_do"], download["fields"], download["images_to_do"]) == (3, 3, 449, 1796)
    figure = read_measured(MEASURED)[("fetch", ".jpg")].value * 2.048**2
    assert download["fetch_bytes"] == pytest.approx(449 * 1000 + 3 * 449 * figure, rel=1e-6)
    assert table["gpu_to_do"].sum() == 3
    assert table["hours_to_do"].isna().all(), "nothing has run, so nobody knows how long it takes"
    crop = table[table["stage"] == "crop"].iloc[0]
    assert crop["disk_to_write"] > 1e9
    assert "4 fields of 2048 x 2048 px as JPEG" in crop["disk_basis"]
    assert "449 files by the server" in page
    assert "snakemake --cores all results/summaries/crop/hpa-0001.json" in page


def test_the_cost_of_100000_fields_takes_seconds(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config = generated(tmp_path, 100_000)
    start = time.process_time()
    table, _ = priced(tmp_path, config)
    assert time.process_time() - start < 30
    assert table["jobs"].sum() == 4 * 500 + 500 + 27


def test_a_catalog_without_fields_costs_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    _, page = priced(tmp_path, generated(tmp_path, 0))
    assert "No source has a field." in page


LEARNING = PLAN._replace(
    works_on={"net": ["a"], "small": ["a"], "cells": ["a"], "both": ["a"]}, weights={}, gpu_models=["net"],
    learned={"net": "256px", "small": "256px", "cells": None}, ensembles={"both": ["net", "small"]},
)  # fmt: skip


def test_models_that_are_trained_have_jobs_of_their_own(tmp_path):
    jobs = all_jobs(LEARNING, str(tmp_path))
    named = [(job.stage, job.model, job.shard or job.item) for job in jobs]
    # one grid for two models, on the shards of their source
    assert [job.item for job in jobs if job.stage == "shrink"] == ["256px", "256px"]
    assert [job.shard for job in jobs if job.stage == "shrink"] == ["a-0001", "a-0002"]
    assert [row[1] for row in named if row[0] == "train"] == ["net", "small", "cells"]
    assert [row[1] for row in named if row[0] == "combine"] == ["both"]
    assert not [row for row in named if row[0] == "embed"]
    assert len([row for row in named if row[0] == "embed_network"]) == 6
    assert [row[2] for row in named if row[0] == "embed_ensemble"] == ["a-0001", "a-0002"]
    assert {(job.stage, job.model) for job in jobs if job.gpus and job.model} == {
        ("train", "net"),
        ("embed_network", "net"),
        ("attend", "net"),
    }
    assert [row[1] for row in named if row[0] == "attend"] == ["net", "small", "cells"]


def touch(root, path, later=1000):
    moment = time.time() + later
    os.utime(root / path, (moment, moment))


def test_a_network_trained_anew_brings_back_what_it_says(tmp_path):
    finish(tmp_path, LEARNING)
    touch(tmp_path, "results/models/small/weights.pt")
    found = to_do(tmp_path, LEARNING)
    assert "train" not in found
    # its own two shards, and those of the ensemble
    assert (found["embed_network"], found["combine"], found["embed_ensemble"]) == (2, 1, 2)
    assert found["evaluate"] == 2


def test_a_changed_shard_trains_nothing_anew(tmp_path):
    finish(tmp_path, LEARNING)
    touch(tmp_path, "results/qc/a-0002.parquet")
    found = to_do(tmp_path, LEARNING)
    assert not {"train", "training_table", "combine"} & set(found)
    assert (found["shrink"], found["embed_network"]) == (1, 3)
