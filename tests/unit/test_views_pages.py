"""Figures and pages of a small drawn run: they are all there, say what the tables say, and survive empty tables."""

import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from fake_groups import write_fake_groups
from fake_run import FakeRun, empty_model, write_fake_run
from fake_scores import write_fake_maps, write_fake_scores
from PIL import Image
from wherein.metrics.pointing import POINTING_COLUMNS
from wherein.models.statistics import Fields
from wherein.models.training.history import HISTORY
from wherein.settings import fill_defaults, schema
from wherein.views.attribution import attributions
from wherein.views.gene_set_figures import plot_gene_sets, strongest
from wherein.views.gene_sets_page import gene_set_pages
from wherein.views.model import plot_model
from wherein.views.model_pages import gallery, learns_reagents, sample_share
from wherein.views.neighbours_page import typical
from wherein.views.pages import duration, percent, share, thousands, volume
from wherein.views.qc import draw_measures, measures_of, plot_qc, reasons_present, thresholds
from wherein.views.releases import moves, news, release_data, summary_of_changes
from wherein.views.scores import best_terms, leading_terms
from wherein.views.segmentation import outlined, plot_segmentation
from wherein.views.segmentation_page import doubt, field_doubt, marked_labels
from wherein.views.single_cells import plot_single_cells
from wherein.views.site import PAGES, build_site, funnel
from wherein.views.site_data import plain
from wherein.views.site_tables import neighbours, predicted_locations, read_run, top_classes
from wherein.views.training_figures import draw_history, draw_pointing

SOURCES = {
    "human": {"kind": "simulated", "release": "1"},
    "yeast": {"kind": "table", "release": "2", "licence": "CC BY 4.0", "attribution": "A <lab> & friends"},
}
FIGURES = ("umap_units", "umap_proteins", "heatmap", "classes", "enrichment", "heterogeneity")
GENE_SET_FIGURES = ("gene_sets", "complexes", "set_pairs", "prerank")
SINGLE_CELLS = {"tests": "single_cells", "compartments": "compartments"}


def defaults(section: str) -> dict:
    settings: dict = {}
    fill_defaults(settings, schema()["$defs"][section])
    return settings


def draw_figures(run: FakeRun, settings: dict) -> None:
    figures = run.root / "report" / "figures"
    shards = {name: run.per_shard(f"{name}/{{shard}}.parquet") for name in ("download", "qc", "cells")}
    fields = run.path("catalog/fields.parquet")
    limits = {source: defaults("qc") for source in SOURCES}
    plot_qc(
        fields, shards["download"], shards["qc"], settings, limits,
        str(figures / "qc_measures.png"), str(figures / "qc_examples.png"),
    )  # fmt: skip
    plot_segmentation(
        fields, shards["download"], shards["qc"], run.per_shard("masks/{shard}.zarr"), shards["cells"], settings,
        str(figures / "segmentation_overlays.png"), str(figures / "cells_measures.png"),
    )  # fmt: skip
    for model, told in run.models.items():
        outputs = {name: str(figures / model / f"{name}.png") for name in FIGURES}
        plot_model(model, told["level"], run.model_inputs(model), settings, outputs)
        outputs = {name: str(figures / model / f"{name}.png") for name in GENE_SET_FIGURES}
        plot_gene_sets(model, run.gene_set_inputs(model), settings, outputs)
        outputs = {name: str(figures / model / f"{file}.png") for name, file in SINGLE_CELLS.items()}
        plot_single_cells(model, run.single_cell_inputs(model), settings, outputs)


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> FakeRun:
    found = write_fake_run(tmp_path_factory.mktemp("run"), genes=9, yeast=2, fields_each=1, shape=(216, 290))
    empty_model(found, "empty")
    draw_figures(found, {**defaults("report"), "dpi": 60})
    write_fake_scores(found, {**defaults("report"), "dpi": 60})
    sets = found.root / "sets.gmt"
    sets.write_text("half of them (GO:0000001)\t\t" + "\t".join(f"HGENE{n}" for n in range(5)) + "\n")
    for model in found.models:
        report = {**defaults("report"), "dpi": 60}
        write_fake_groups(found, model, report, {"go": str(sets)}, trees=model == "classic")
    return found


@pytest.fixture(scope="module")
def site(run, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("pages") / "site"
    settings = {**defaults("report"), "cells_per_protein": 6, "cell_tile_px": 48, "field_tile_px": 64}
    maps = write_fake_maps(run, "classic", {**defaults("report"), "dpi": 60})
    build_site(
        {**run.site_inputs(), **maps}, settings, SOURCES, run.models, {}, str(folder), str(folder.with_suffix(".json"))
    )
    return folder


def data(site: Path, name: str):
    text = (site / "data" / f"{name}.js").read_text(encoding="utf-8")
    assert text.startswith(f'wherein.put("{name}",')
    return json.loads(text[text.index(",") + 1 : text.rindex(")")])


@pytest.mark.parametrize("model", ["classic", "gapnet", "empty"])
@pytest.mark.parametrize("figure", [*FIGURES, *GENE_SET_FIGURES, *SINGLE_CELLS.values()])
def test_every_figure_of_a_model_is_drawn(run, model, figure):
    picture = np.asarray(Image.open(run.root / "report" / "figures" / model / f"{figure}.png").convert("L"))
    assert (picture < 250).mean() > 0.002


@pytest.mark.parametrize("figure", ["qc_measures", "qc_examples", "segmentation_overlays", "cells_measures"])
def test_every_figure_of_the_run_is_drawn(run, figure):
    picture = np.asarray(Image.open(run.root / "report" / "figures" / f"{figure}.png").convert("L"))
    assert (picture < 250).mean() > 0.02


def test_figures_of_a_run_without_passed_fields(run, tmp_path):
    qc = pd.read_parquet(run.per_shard("qc/{shard}.parquet")[0])
    bad = qc[qc["status"] == "failed"]
    paths = [str(tmp_path / name) for name in ("qc.parquet", "cells.parquet", "a.png", "b.png", "c.png", "d.png")]
    bad.to_parquet(paths[0])
    pd.read_parquet(run.per_shard("cells/{shard}.parquet")[0]).head(0).to_parquet(paths[1])
    fields, files = run.path("catalog/fields.parquet"), run.per_shard("download/{shard}.parquet")
    settings = {**defaults("report"), "dpi": 50}
    plot_qc(fields, files, [paths[0]], settings, {"human": defaults("qc")}, paths[2], paths[3])
    plot_segmentation(fields, files, [paths[0]], run.per_shard("masks/{shard}.zarr"), [paths[1]], settings, *paths[4:])
    assert all(Path(path).stat().st_size > 1000 for path in paths[2:])


def test_measures_without_any_field(tmp_path):
    columns = ["field_id", "version", "source", "status", "reason", "contrast", "focus_protein", "saturated_protein"]
    draw_measures(pd.DataFrame(columns=columns), {}, {**defaults("report"), "dpi": 50}, str(tmp_path / "none.png"))
    assert (tmp_path / "none.png").exists()


def test_reasons_come_in_the_order_of_judgement():
    judged = pd.DataFrame({"reason": ["empty", "passed", "corrupt", "empty"]})
    assert reasons_present(judged) == ["passed", "corrupt", "empty"]


def test_measures_that_nobody_has_get_no_panel():
    judged = pd.DataFrame({"n_nuclei": [3.0, None], "marker_fit": [None, None], "focus_nucleus": [0.4, 0.2]})
    assert list(measures_of(judged)) == ["n_nuclei", "focus"]


def test_thresholds_follow_the_sources():
    nuclei, marker = defaults("qc"), {**defaults("qc"), "count": "marker", "min_cells": 2}
    assert thresholds({"one": nuclei, "two": marker}, "n_nuclei") == [nuclei["min_cells"]]
    assert thresholds({"one": nuclei, "two": marker}, "n_marker") == [2]
    assert thresholds({"one": nuclei, "two": nuclei}, "contrast") == [nuclei["contrast"]["fraction"]]


def test_outlines_tell_kept_from_rejected():
    cell = np.zeros((9, 18), np.uint32)
    cell[1:8, 1:8], cell[1:8, 10:17] = 1, 300
    picture = outlined(np.zeros((9, 18, 3), np.uint8), np.zeros_like(cell), cell, np.array([300]))
    assert picture[1, 10].tolist() == [255, 255, 255]
    assert picture[1, 1].tolist() != [255, 255, 255]
    assert picture[1, 1].any()
    assert not picture[4, 4].any()


def test_the_best_terms_of_each_cluster():
    table = pd.DataFrame(
        [("10", "a", 0.01, 0.001), ("2", "b", 0.04, 0.01), ("2", "c", 0.02, 0.005), ("2", "d", 0.2, 0.1)],
        columns=["cluster", "term", "q", "p"],
    )
    assert best_terms(table, 5, 0.05)["term"].tolist() == ["c", "b", "a"]
    assert best_terms(table, 1, 1)["term"].tolist() == ["c", "a"]
    assert len(best_terms(table.head(0), 3, 0.05)) == 0


def test_terms_that_say_the_same_are_left_out():
    table = pd.DataFrame({"term": list("abcd"), "representative": ["a", "a", None, "d"]})
    assert leading_terms(table)["term"].tolist() == ["a", "c", "d"]


def test_the_strongest_sets_of_each_ranking():
    rows = [("one", 1.5, 0.01), ("one", 1.2, 0.02), ("one", 1.8, 0.03), ("one", -1.0, 0.5), ("two", -2.0, 0.001)]
    table = pd.DataFrame(rows, columns=["ranking", "nes", "p"])
    assert strongest(table, 2)["nes"].tolist() == [1.5, 1.2, -1.0, -2.0]
    assert len(strongest(table.head(0), 2)) == 0


def test_pages_of_gene_sets_say_what_was_tested(run, site):
    text = (site / "gene_sets.html").read_text(encoding="utf-8")
    for said in ("one-sided hypergeometric", "Benjamini and Hochberg", "Human Protein Atlas", "99 times, seed 0"):
        assert said in text
    assert "OLD&lt;1&gt; → NEW1" in text
    assert "nothing was tested" in text, "the model without tables"
    text = (site / "complexes.html").read_text(encoding="utf-8")
    for said in (
        "one &lt;complex&gt;",
        "Mann-Whitney",
        "exchanges of the proteins",
        "no complexes are given",
        "not asked",
    ):
        assert said in text
    told = {model["name"]: model for model in gene_set_pages(run.site_inputs(), 0.05)}
    assert told["empty"]["same"] is None
    assert told["classic"]["n_chosen"] == 1
    assert [row["complex"] for row in told["classic"]["complexes"]] == ["one <complex>", "other"]
    assert told["classic"]["rankings"][0]["n_found"] == 1
    assert told["classic"]["losses"][0] == {
        "what": "proteins", "library": "", "how": "translated to the present symbol", "count": 1,
        "examples": ["OLD<1> → NEW1"],
    }  # fmt: skip
    assert "and 1 alike: vesicle membrane" in (site / "clusters.html").read_text(encoding="utf-8")


def test_links_of_the_pages_are_relative_and_lead_somewhere(site):
    pages = sorted(site.glob("*.html"))
    assert len(pages) == len(PAGES) + 1 + 3
    for page in pages:
        text = page.read_text(encoding="utf-8")
        for link in re.findall(r'(?:href|src)="([^"]*)"', text):
            if link.startswith(("data:", "#")):
                continue
            assert not re.match(r"[a-z]+:|/", link), (page.name, link)
            assert (site / link.split("#")[0]).is_file(), (page.name, link)
        assert re.search(r"<img(?![^>]*\balt=)", text) is None, page.name


def test_pages_need_no_network(site):
    for path in [*site.glob("assets/*"), *site.glob("*.html")]:
        found = re.findall(r"https?://[^\s\"'<)]+", path.read_text(encoding="utf-8"))
        assert set(found) <= {"http://www.w3.org/2000/svg"}, path.name


def test_the_summary_counts_what_lies_there(site):
    told = json.loads(site.with_suffix(".json").read_text())["site"]
    files = [path for path in site.rglob("*") if path.is_file()]
    assert told["files"] == len(files)
    assert told["bytes"] == sum(path.stat().st_size for path in files)
    assert told["pages"] == len(PAGES) + 1 + 3
    assert told["proteins"] == 12


def test_the_overview_tells_the_balance_and_the_scores(site):
    text = (site / "index.html").read_text(encoding="utf-8")
    assert "A. Curator" in text
    assert "relabel: Nucleoli" in text
    assert "does not balance" not in text
    assert "the protein channel uses too little of the source" in text
    assert "needs the role microtubules, er" in text
    assert "A &lt;lab&gt; &amp; friends" in text
    assert "<b>0.71</b>" in text
    assert "<b>–</b>" in text  # the empty model has no score


def test_the_page_of_segmentation_shows_methods_and_doubtful_fields(run, site):
    text = (site / "segmentation.html").read_text(encoding="utf-8")
    methods = pd.read_csv(run.path("evaluation/segmentation/methods.tsv"), sep="\t")
    whole = methods[(methods["group"] == "all") & (methods["object"] == "cell")]
    assert len(whole) == 4
    for row in whole.itertuples():
        assert f"<b>{row.f1:.3f}</b>" in text
        assert f"{row.count_error:.1%} ({row.count_bias:+.1%})" in text
    for line in ("U2OS", "HEK293", "MCF7", "BY4741", "small", "medium", "large"):
        assert f"<td>{line}" in text
    outlined = data(site, "segmentation")
    assert outlined["doubt"] == sorted(outlined["doubt"], reverse=True)
    pictures = re.findall(r'<img loading="lazy" width="(\d+)" height="(\d+)"[^>]*src="(overlays/[^"]+)"', text)
    assert len(pictures) == min(12, len(outlined["field_id"]))
    for width, height, name in pictures:
        assert Image.open(site / name).size == (int(width), int(height))
    assert re.findall(r"<figcaption><b>([^<]+)</b>", text) == outlined["field_id"][: len(pictures)]


def test_the_page_of_segmentation_without_truth_and_without_fields(run, tmp_path):
    inputs = {**run.site_inputs(), "segmentation": [], "segmentation_tables": [], "quality": []}
    build_site(inputs, defaults("report"), SOURCES, run.models, {}, str(tmp_path / "site"), str(tmp_path / "site.json"))
    text = (tmp_path / "site" / "segmentation.html").read_text(encoding="utf-8")
    assert "No true outlines are known" in text
    assert "No field was outlined." in text
    assert data(tmp_path / "site", "segmentation")["field_id"] == []


def cells_of(source, field, **measures):
    empty = dict.fromkeys(["contrast", "nucleus_contrast", "solidity", "nucleus_solidity", "disagreement"], np.nan)
    return pd.DataFrame({"source": source, "field_id": field, "version": "v", **empty, **measures})


def test_doubt_ranks_an_outline_in_its_source():
    cells = pd.concat(
        [
            cells_of("a", "f", contrast=[-0.5, 0.1, 0.3], solidity=[0.9, 0.8, 0.95]),
            cells_of("b", "g", disagreement=[0.0, 0.9], contrast=[0.2, np.nan]),
            cells_of("c", "h", label=[1]),
        ],
        ignore_index=True,
    )
    found = doubt(cells, cells["source"])
    assert found[:5].tolist() == pytest.approx([0.25, 1.0, 0.25, 0.0, 1.0])
    assert np.isnan(found[5])


def test_a_field_is_as_doubtful_as_its_worst_tenth():
    cells = pd.DataFrame(
        {"field_id": ["few"] * 20 + ["one"] * 20, "version": "v", "source": "a", "label": [*range(1, 21)] * 2,
         "doubt": [0.9] * 3 + [0.1] * 17 + [1.0] + [0.1] * 19}
    )  # fmt: skip
    fields = pd.DataFrame(
        {"field_id": ["few", "one", "failed", "nothing", "nuclei"], "version": "v", "n_cells": [20, 20, 0, 0, 0],
         "n_nuclei": [20, 20, 0, 0, 9], "reason": [None, None, "failed", None, None]}
    )  # fmt: skip
    assert field_doubt(fields, cells).tolist() == pytest.approx([0.9, 0.1, 1.0, 1.0, 0.0])
    # a twentieth of 40 cells
    assert {key: labels.tolist() for key, labels in marked_labels(cells).items()} == {("one", "v"): [1]}


def test_every_protein_and_field_is_in_the_data(run, site):
    proteins, fields = data(site, "proteins"), data(site, "fields")
    assert proteins["name"] == sorted(
        [*(f"HGENE{n}" for n in range(9)), "YGENE0", "YGENE1", "controls"], key=lambda name: name.casefold()
    )
    catalog = pd.read_parquet(run.path("catalog/fields.parquet"))
    assert sorted(fields["field_id"]) == sorted(catalog["field_id"])
    assert all(len(column) == len(fields["field_id"]) for column in fields.values() if column is not None)
    unread = [fields["reason"][n] for n, picture in enumerate(fields["picture"]) if picture is None]
    assert unread == ["corrupt", "corrupt"]


def test_cells_are_those_of_the_ledger(run, site):
    ledger = pd.concat([pd.read_parquet(path) for path in run.per_shard("cells/{shard}.parquet")])
    kept = ledger[ledger["status"] == "kept"].groupby("field_id").size()
    fields, proteins = data(site, "fields"), data(site, "proteins")
    assert {
        name: count for name, count in zip(fields["field_id"], fields["kept"], strict=True) if count
    } == kept.to_dict()
    assert sum(proteins["n_cells"]) == kept.sum()
    content = data(site, "protein-000")
    for number, name in enumerate(proteins["name"]):
        cells = content[name]["cells"]
        assert len(cells) == min(6, proteins["n_cells"][number])
        for label, place, *_ in cells:
            row = ledger[(ledger["field_id"] == fields["field_id"][place]) & (ledger["label"] == label)]
            assert row["status"].tolist() == ["kept"]
            assert fields["protein"][place] == name


def test_a_cell_is_drawn_from_its_own_crop(run, site):
    """Mean brightness of each tile of the protein alone follows the crops' own, for cells of one contrast."""
    from wherein.crops.store import CropStore

    fields, content, told = data(site, "fields"), data(site, "protein-000"), data(site, "run")
    store = CropStore(run.path("crops/human-0001.zarr"))
    row_of = {cell: number for number, cell in enumerate(store.cell_ids)}
    size = told["cellTile"]
    pairs = []
    for label, place, sheet, _, tile, *_ in content["HGENE2"]["cells"]:
        picture = Image.open(site / "sheets" / f"cells-{sheet:03d}.webp").convert("L")
        y, x = divmod(tile, 16)
        shown = np.asarray(picture.crop((x * size, y * size, (x + 1) * size, (y + 1) * size)), float)
        cell = f"{fields['field_id'][place]}@{fields['version'][place]}:{label}"
        pairs.append((shown.mean(), float(store.images([row_of[cell]])[0, store.roles.index("protein")].mean())))
    assert np.corrcoef(np.array(pairs).T)[0, 1] > 0.97


def test_the_map_holds_every_unit_with_a_place(run, site):
    units = pd.read_parquet(run.path("atlas/classic/units.parquet"))
    shown = data(site, "map-classic")
    assert sorted(shown["unit"]) == sorted(units["unit_id"])
    names = data(site, "proteins")["name"]
    gene = dict(zip(units["unit_id"], units["gene"], strict=True))
    for unit, protein, location in zip(shown["unit"], shown["protein"], shown["location"], strict=True):
        assert names[protein] == (gene[unit] or "controls")
        assert shown["locationNames"][location]
    assert data(site, "map-empty")["unit"] == []


def test_data_survives_names_that_would_end_a_script():
    assert plain({"a": np.nan, "b": [np.int64(3), 2.34567891, None, True], "c": pd.NA}) == {
        "a": None, "b": [3, 2.346, None, True], "c": None,
    }  # fmt: skip


def test_nothing_in_the_data_ends_its_script(tmp_path):
    from wherein.views.site_data import put

    put(tmp_path / "x.js", "x", {"name": "</script><b>", "line": "a\u2028b"})
    text = (tmp_path / "x.js").read_text(encoding="utf-8")
    assert "</script" not in text
    assert "\u2028" not in text
    assert json.loads(text[text.index(",") + 1 : text.rindex(")")])["name"] == "</script><b>"


def test_the_funnel_says_when_the_ledger_does_not_balance():
    rows = [("qc", "a", "fields", "in", 10), ("qc", "a", "fields", "kept", 6), ("qc", "b", "fields", "in", 5),
            ("qc", "b", "fields", "kept", 5), ("qc", "a", "fields", "corrupt", 3)]  # fmt: skip
    (stage,) = funnel(pd.DataFrame(rows, columns=["stage", "source", "item", "reason", "count"]))
    assert (stage["count_in"], stage["kept"], stage["balanced"], stage["missing"]) == (15, 11, False, 1)
    assert stage["reasons"][0]["text"] == "a channel's file cannot be decoded"


def test_neighbours_are_what_a_slow_search_finds(run):
    (model,) = [each for each in read_run(run.site_inputs(), run.models).models if each.name == "classic"]
    found = neighbours(model, most=3, block=4)
    codes, names = model.proteins.obsm["X_pca"], list(model.proteins.obs_names)
    for number, name in enumerate(names):
        distance = {
            other: float(np.linalg.norm(codes[number] - codes[k])) for k, other in enumerate(names) if k != number
        }
        slow = sorted(distance, key=distance.get)[:3]
        assert [distance[other] for other, _ in found[name]] == pytest.approx([distance[other] for other in slow])
        assert [value for _, value in found[name]] == pytest.approx([distance[other] for other in slow], abs=1e-4)


def test_predicted_locations_are_means_over_the_threshold(run):
    tables = read_run(run.site_inputs(), run.models)
    model = next(each for each in tables.models if each.name == "classic")
    found = predicted_locations(model, tables.judged)
    assert dict(found["HGENE0"]).keys() == {"Nucleoplasm"}
    assert dict(found["HGENE3"]).keys() == {"Mitochondria", "Centrosome"}
    fields = tables.judged.loc[tables.judged["protein"] == "HGENE0", "field_id"]
    mean = model.predictions.loc[model.predictions["field_id"].isin(fields), "Nucleoplasm"].mean()
    assert dict(found["HGENE0"])["Nucleoplasm"] == pytest.approx(mean)


def test_top_classes_pass_over_what_is_not_known():
    table = pd.DataFrame({"a": [0.2, np.nan], "b": [0.7, np.nan]})
    assert top_classes(table, ["a", "b"], 5) == [[("b", 0.7), ("a", 0.2)], []]
    assert top_classes(table, [], 5) == [[], []]


def test_numbers_as_people_read_them():
    assert [thousands(None), thousands(12345), share(np.nan), share(0.714)] == ["–", "12,345", "–", "0.71"]
    assert [duration(42), duration(600), duration(12240)] == ["42 s", "10 min", "3.4 h"]


def test_volumes_as_people_read_them():
    told = [volume(value) for value in (None, 0, 999, 1000, 9_960, 340_400, 999_600, 1.44e9, 5.5e12, 3e16)]
    assert told == ["–", "0", "999 B", "1.0 kB", "10 kB", "340 kB", "1.0 MB", "1.4 GB", "5.5 TB", "30,000 TB"]


def test_each_step_from_release_to_release_is_counted(run):
    changes = read_run(run.site_inputs(), run.models).changes
    steps = summary_of_changes(changes)
    counts = [(each["source"], each["old_release"], each["release"], each["first"]) for each in steps]
    assert counts == [("human", "1", "2", False), ("yeast", "", "1", True), ("human", "", "1", True)]
    assert [steps[0][name] for name in ("added", "changed", "relabelled", "removed")] == [1, 1, 1, 1]
    assert news(changes)["change"].tolist() == ["removed", "added", "changed", "relabelled"]


def test_changes_tell_the_protein_even_of_fields_that_went(run):
    tables = read_run(run.site_inputs(), run.models)
    told = release_data(tables.changes, {"HGENE0": 0})
    assert told["total"] == 4
    relabelled = list(told["change"]).index("relabelled")
    assert told["protein"][relabelled] == "HGENE0"
    assert told["known"][relabelled]
    # the catalog of this run has never had that field
    assert told["protein"][list(told["change"]).index("removed")] is None


def test_marked_proteins_reach_the_pages(site):
    proteins = data(site, "proteins")
    own = proteins["models"]["classic"]["moves"]
    marks = dict(zip(proteins["name"], own["mark"], strict=True))
    assert marks["HGENE1"] == "moved"
    assert marks["HGENE2"] == "relabelled"
    assert marks["HGENE3"] == "unchanged"
    assert marks["controls"] is None
    assert (own["moved"], own["relabelled"], own["old_state"], own["state"]) == (1, 1, "human:1", "human:2")
    assert own["moved"] <= own["tested"] <= own["compared"]
    row = own["row"][proteins["name"].index("HGENE2")]
    assert own["rows"]["labels_added"][row] == "Nucleoli"
    assert proteins["models"]["gapnet"]["moves"]["state"] is None


def test_without_another_release_nothing_moved():
    told = moves(pd.DataFrame(columns=["protein", "protein_before", "old_state", "state", "mark", "relabelled",
        "labels_before", "labels_after", "labels_added", "labels_removed", "n_fields_before", "n_fields_after", "shift",
        "expected", "p", "q", "neighbours_kept", "umap_1_before", "umap_2_before", "umap_1", "umap_2"]))  # fmt: skip
    assert told["state"] is None
    assert told["tested"] == 0
    assert len(told["rows"]["protein"]) == 0


def test_a_run_of_one_release_says_that_nothing_changed(run, tmp_path):
    inputs = run.site_inputs()
    first = pd.read_csv(inputs["diff"], sep="\t", dtype=str, keep_default_na=False)
    first = first[first["old_release"] == ""]
    first.to_csv(tmp_path / "diff.tsv", sep="\t", index=False)
    inputs["diff"] = str(tmp_path / "diff.tsv")
    settings = {**defaults("report"), "cells_per_protein": 1, "cell_tile_px": 32, "field_tile_px": 64, "sheets": 1}
    build_site(inputs, settings, SOURCES, run.models, {}, str(tmp_path / "site"), str(tmp_path / "site.json"))
    assert "Nothing yet: this run knows one release" in (tmp_path / "site" / "releases.html").read_text()
    assert data(tmp_path / "site", "releases")["total"] == 0


def test_what_has_no_licence_is_named(run, site, tmp_path):
    tables = read_run(run.site_inputs(), run.models)
    licences = tmp_path / "licences.tsv"
    licences.write_text("file\trelease\tlicence\tsource\nGO_2023\t2023\tCC BY 4.0\tGene Ontology\n")
    sources = {**SOURCES, "lab": {"kind": "table", "release": "1", "licence": "", "attribution": "Us"}}
    sets = {
        "go": {"library": "GO_2023", "organism": "human"},
        "mine": "sets/mine.gmt",
        "far": "https://example.org/far.gmt",
    }
    rows = {row.name: row for row in attributions(tables, sources, sets, {"gene_set_licences": str(licences)})}
    assert list(rows) == ["human", "yeast", "lab", "go", "mine", "far"]
    assert [name for name, row in rows.items() if row.missing] == ["lab", "mine", "far"]
    assert rows["lab"].licence == "not given: set sources.lab.licence"
    assert rows["go"].attribution == "Gene Ontology [library GO_2023 (human)]"
    assert "add a row for mine.gmt to resources/gene_sets/licences.tsv" in rows["mine"].licence
    assert "https://example.org/far.gmt" in rows["far"].attribution
    table = pd.read_csv(site / "licences.tsv", sep="\t")
    assert table["name"].tolist() == ["human", "yeast"]
    assert "not given" not in (site / "index.html").read_text()


def test_the_page_of_all_models_compares_them(run, site):
    text = (site / "models.html").read_text(encoding="utf-8")
    table = pd.read_csv(run.path("report/models.tsv"), sep="\t")
    for row in table.dropna(subset=["f1"]).itertuples():
        assert f'href="model-{row.model}.html"' in text
        assert f"<b>{row.f1:.3f}</b>" in text
        assert f"{row.f1_low:.2f} to {row.f1_high:.2f}" in text
    pairs = pd.read_csv(run.path("report/models_pairs.tsv"), sep="\t")
    assert set(pairs["model"]) == {"classic", "gapnet"}
    for row in pairs.itertuples():
        assert f"{row.difference:+.3f}" in text
    tests = pd.read_csv(run.path("report/models_tests.tsv"), sep="\t")
    assert {"fields", "models"} == set(tests["of"])
    assert "all models" in text
    for name in ("scores", "precision_recall", "classes", "training_counts", "speed", "input_sizes"):
        assert (site / "figures" / f"models_{name}.png").stat().st_size > 1000


def test_the_page_of_a_model_tells_each_location_people_and_errors(run, site):
    text = (site / "model-classic.html").read_text(encoding="utf-8")
    classes = pd.read_csv(run.path("evaluation/classic/classes.tsv"), sep="\t")
    for row in classes[(classes["level"] == "field") & (classes["n"] > 0)].itertuples():
        assert f'<th scope="row">{row._2}</th><td class="num">{row.n}</td>' in text
    judges = pd.read_csv(run.path("evaluation/classic/judges.tsv"), sep="\t")
    assert judges["judge"].tolist() == ["model", "A", "B", "mean of expert", "vote of expert"]
    assert all(f'<th scope="row">{name}</th>' in text for name in judges["judge"])
    pictures = re.findall(r'src="gallery/([^"]+)"', text)
    assert pictures
    assert all((site / "gallery" / name).stat().st_size > 500 for name in pictures)
    annotated = pd.read_csv(run.path("evaluation/classic/annotated.tsv"), sep="\t", keep_default_na=False)
    wanted = annotated[annotated["kind"] != ""]["field_id"].tolist()
    shown = re.findall(r"<figcaption><b>([^<]+)</b>", text)
    assert set(shown[: len(wanted)]) == set(wanted)


def test_the_page_of_a_network_shows_where_it_looks(run, site):
    text = (site / "model-classic.html").read_text(encoding="utf-8")
    shares = pd.read_csv(run.path("evaluation/classic/pointing.tsv"), sep="\t")
    mean = shares[shares["class"].isna() & (shares["kind"] == "right")].iloc[0]
    assert f"{percent(mean['signal'])} ({percent(mean['signal_low'])} to {percent(mean['signal_high'])})" in text
    assert f"against {percent(mean['compartment_even'])} of even maps" in text
    pictures = re.findall(r'<img[^>]*src="gallery/(classic-map-[^"]+)"', text)
    assert len(pictures) == 3
    for name in pictures:
        # what it saw, and the map over the protein
        assert Image.open(site / "gallery" / name).size == (120, 40)
    assert "the map is zero everywhere" in text
    assert "Attention maps (Grad-CAM) of locations" in text
    for name in ("history", "pointing"):
        assert f'src="figures/classic/{name}.png"' in text
        assert (site / "figures" / "classic" / f"{name}.png").stat().st_size > 1000
    other = (site / "model-gapnet.html").read_text(encoding="utf-8")
    assert "Where it looks" not in other
    assert '<pre class="card"># Model, drawn' in text
    assert '<pre class="card"># Model gapnet\n' in other, "a model that is not trained here has a short card"
    assert "random forests on its vectors" in other
    assert "history.png" not in other


def test_figures_of_a_training_without_maps_and_epochs(tmp_path):
    settings = {**defaults("report"), "dpi": 50}
    draw_history(pd.DataFrame(columns=HISTORY), None, "m", settings, str(tmp_path / "h.png"))
    draw_pointing(pd.DataFrame(columns=POINTING_COLUMNS), "m", settings, str(tmp_path / "p.png"))
    known = pd.DataFrame({name: [1.0, 2.0] for name in HISTORY}).assign(macro_f1=np.nan, learning_rate=0.0)
    draw_history(known, 2, "m", settings, str(tmp_path / "k.png"))
    for name in ("h", "p", "k"):
        assert (np.asarray(Image.open(tmp_path / f"{name}.png").convert("L")) < 250).mean() > 0.002


def test_the_page_of_a_model_without_anything_scored(site):
    text = (site / "model-empty.html").read_text(encoding="utf-8")
    assert "Not scored: no labels to score against." in text
    assert "gallery/" not in text


@pytest.mark.parametrize("figure", ["curves", "confusion", "groups", "leaks", "judges"])
@pytest.mark.parametrize("model", ["classic", "empty"])
def test_every_figure_of_scores_is_drawn(run, model, figure):
    picture = np.asarray(Image.open(run.root / "report" / "figures" / model / f"{figure}.png").convert("L"))
    assert (picture < 250).mean() > 0.002


def test_a_model_that_learned_reagents_is_warned_of(run, site, tmp_path):
    assert "Trained to tell reagents apart" not in (site / "model-classic.html").read_text(encoding="utf-8")
    assert learns_reagents({"training": {"loss": {"bce": 0, "arcface": 0.5, "cross_entropy": 0.5}}})
    assert not learns_reagents({"training": {"loss": {"bce": 1, "arcface": 0}}})
    assert not learns_reagents({"training": None})
    table = pd.DataFrame({"split": ["gene_fold", "field_fold"], "attribute": "sample", "share": [np.nan, 0.69]})
    table.to_csv(tmp_path / "n.tsv", sep="\t", index=False)
    assert sample_share(str(tmp_path / "n.tsv")) == 0.69
    table.head(1).assign(split="field_fold").to_csv(tmp_path / "n.tsv", sep="\t", index=False)
    assert sample_share(str(tmp_path / "n.tsv")) is None


def test_the_gallery_shows_what_people_or_the_model_got_wrong_first():
    truth = np.eye(4, dtype=bool)
    probabilities = np.array([[0.9, 0.1, 0, 0], [0.8, 0.1, 0, 0], [0, 0, 0.5, 0.6], [0.4, 0.7, 0, 0.2]])
    units = pd.DataFrame({"field_id": list("abcd"), "version": "v"})
    fields = Fields(units, truth, probabilities > 0.5, probabilities, np.zeros(4))
    annotated = [
        {"field_id": "c", "version": "v", "kind": "model_wrong", "published": "w", "model": "x", "answers": "P: w"},
        {"field_id": "b", "version": "v", "kind": "both_wrong", "published": "x", "model": "w", "answers": "P: y;Q: z"},
        {"field_id": "a", "version": "v", "kind": "", "published": "w", "model": "w", "answers": "P: w"},
    ]
    found = gallery(fields, ("w", "x", "y", "z"), annotated, 10)
    assert [row["field_id"] for row in found] == ["b", "c", "d"]
    assert found[0]["answers"] == ["P: y", "Q: z"]
    assert found[2]["predicted"] == "x"
    assert found[2]["probability"] == 0.7
    assert [row["field_id"] for row in gallery(fields, ("w", "x", "y", "z"), annotated, 1)] == ["b"]
    assert [row["field_id"] for row in gallery(fields, ("w", "x", "y", "z"), [], 10)] == ["b", "d", "c"]


def test_clusters_page_says_how_far_to_trust_each_group(run, site):
    page = (site / "clusters.html").read_text()
    for model in run.models:
        section = page[page.index(f'data-model="{model}"') :].split("</section>")[0]
        agreed = pd.read_csv(run.path(f"atlas/{model}/agreement.tsv"), sep="\t")
        groups = pd.read_csv(run.path(f"atlas/{model}/groups.tsv"), sep="\t")
        for row in agreed.itertuples():
            assert share(row.ari) in section
        assert section.count("<b>Community ") == (groups["grouping"] == "leiden").sum()
        assert "Benjamini-Hochberg" in section
        assert "permutation" in set(agreed["test"].str.split().str[0])
        for name in re.findall(r'(?:href|src)="(figures/[^"]+)"', section):
            assert (site / name).is_file(), name
    classic = page[page.index('data-model="classic"') :].split("</section>")[0]
    assert "cell_trees/HGENE0.png" in classic
    assert "GO:0000001" in classic
    assert "<b>ours</b>" in classic
    empty = page[page.index('data-model="empty"') :].split("</section>")[0]
    assert "No trees of cells" in empty
    assert "Too few proteins have one published location" in empty


def test_figures_of_groups_are_not_blank(run):
    for model in run.models:
        folder = run.root / "report" / "figures" / model
        drawn = [folder / "spectrum.png", folder / "stability.png", *folder.glob("*/*.png")]
        for path in drawn:
            assert np.asarray(Image.open(path).convert("L")).std() > 3, path
    assert [path.name for path in (run.root / "report/figures/classic/cell_trees").glob("*.png")] == ["HGENE0.png"]


def test_neighbours_and_their_cells_are_in_the_data(site):
    near = data(site, "near-classic-000")
    proteins = data(site, "proteins")["name"]
    names = sorted(name for name in near)
    own = near[names[0]]
    assert [proteins[row[0]] for row in own["n"]] == names[1:4]
    assert own["n"][0] == [proteins.index(names[1]), 0.9, 0.3333, [1, 0, None, 1]]
    # typical cells, and the nearest to them, have pictures
    assert own["unit"][1][0] == "cells"
    assert all(row[1] is not None for row in own["u"])
    # a model of fields shows its fields
    fields = data(site, "near-gapnet-000")
    assert {row[1][0] for each in fields.values() for row in each["u"] if row[1]} == {"fields"}
    tiles = data(site, "tiles")
    assert len(tiles["cells"]) == len(tiles["field"]) == len(proteins)
    assert 1 <= len(tiles["cells"][proteins.index(names[0])]) <= 5
    assert data(site, "near-empty-000") == {}
    text = (site / "neighbours.html").read_text(encoding="utf-8")
    assert "1% share a &lt;plate&gt;" in text


def test_the_label_audit_says_what_was_tested_and_what_is_known(site):
    told = data(site, "audit-classic")
    proteins = data(site, "proteins")["name"]
    assert told["audit"]["finding"][:2] == ["wrong", "fits"]
    assert told["audit"]["total"] == len(told["audit"]["rank"])
    assert [proteins[at] for at in told["audit"]["neighbours"][0]] == told["audit"]["protein"][:3]
    # of what fits its label, not of what is contradicted
    assert told["audit"]["protein"][0] not in [proteins[at] for at in told["typical"]["Cytosol"]]
    text = (site / "audit.html").read_text(encoding="utf-8")
    for part in ("1 of ", "Benjamini-Hochberg", "1 wrong", "were given wrong labels on purpose", "1 of the first 10",
                 "No proteins could be judged"):  # fmt: skip
        assert part in text, part


def test_typical_proteins_have_one_location_where_any_does():
    table = pd.DataFrame(
        {"protein": list("ABCDE"), "annotated": ["X;Y", "X", "X", "Y", None],
         "support_annotated": [0.9, 0.2, 0.5, 0.1, 0],
         "finding": ["fits", "fits", "fits", "wrong", "no_label"]}
    )  # fmt: skip
    assert typical(table, {name: number for number, name in enumerate("ABCDE")}) == {"X": [2, 1, 0], "Y": [0]}


def test_contrasts_show_cells_of_both_sides_and_why_there_is_no_p(site):
    page = (site / "contrasts.html").read_text(encoding="utf-8")
    assert "condition none" in page
    assert "1 too few replicates on a side" in page
    assert re.search(r"\d+ shifts and \d+ amounts were tested\. Test: ", page)
    assert "All proteins share a shift of 1." in page
    told = data(site, "contrast-classic-drug")["proteins"]
    assert told["moved"].count(True) == 1
    assert told["reason"][-1] == "too few replicates on a side"
    assert any(told["a"])
    assert any(told["b"])
    picture = np.asarray(Image.open(site / "figures" / "classic" / "contrast-drug.png").convert("L"))
    assert (picture < 250).mean() > 0.002
    assert "biology.contrasts" in rendered_without()


def rendered_without() -> str:
    from wherein.views.pages import environment

    return (
        environment()
        .get_template("contrasts.html")
        .render(contrasts=[], title="Contrasts", here="contrasts.html", pages=PAGES, version="0", sources=[])
    )


def test_abundance_tells_background_and_detection(site):
    page = (site / "abundance.html").read_text(encoding="utf-8")
    assert "3 of 150 (2.0 %)" in page
    assert "none: intensities as measured" in page
    assert "Simulated (human)" in page
    told = data(site, "abundance")
    assert told["reason"][-1] == "its source has no controls"
    assert None in told["detected"]
    protein = data(site, "protein-000")
    assert any(own["abundance"] for own in protein.values())
    picture = np.asarray(Image.open(site / "figures" / "abundance.png").convert("L"))
    assert (picture < 250).mean() > 0.002
