"""Crops in the layouts of other programs, read back as those programs read them."""

import hashlib
import io
import json
import tarfile
from pathlib import Path

import anndata
import h5py
import numpy as np
import pytest
from indexed_run import indexed_run, store_in_8_bits
from wherein import tables
from wherein.crops.blocks import DamagedCropsError
from wherein.exchange import cytoself_layout, exporting_cells, h5sc
from wherein.exchange.exporting import export_run
from wherein.exchange.exporting_cells import TOLD, CellReader, choose_cells
from wherein.exchange.exporting_plan import check_export
from wherein.exchange.webdataset import key_of
from wherein.reading.index import CropIndexError
from wherein.reasons import EXPORT_REASONS
from wherein.segmentation.distance import nucleus_distance
from wherein.settings import ConfigError, check_config


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return indexed_run(tmp_path_factory.mktemp("exported"))


def settings_of(**changes):
    """The section `export` with its defaults, and changes by their dotted names."""
    config = {"sources": {"near": {"kind": "simulated"}}}
    check_config(config)
    for name, value in changes.items():
        section, key = name.split("__")
        config["export"][section][key] = value
    return config["export"]


def export(run, folder, layout, source="near", **changes):
    """Export; what the manifest says."""
    shards = [path.stem for path in sorted((run.root / "cells").glob(f"{source}-*.parquet"))]
    export_run(
        layout=layout,
        source=source,
        index=run.root / "index",
        crops=[run.root / "crops" / f"{shard}.zarr" for shard in shards],
        cells=[run.root / "cells" / f"{shard}.parquet" for shard in shards],
        settings=settings_of(**changes),
        folder=folder,
        summary=Path(folder).with_suffix(".json"),
    )
    manifest = json.loads((Path(folder) / "manifest.json").read_text())
    summary = json.loads(Path(folder).with_suffix(".json").read_text())["counts"]
    assert summary == manifest["counts"]
    assert summary["in"] == sum(count for name, count in summary.items() if name != "in")
    assert manifest["cells"] == summary["kept"]
    for file in manifest["files"]:
        content = (Path(folder) / file["name"]).read_bytes()
        assert (len(content), hashlib.sha256(content).hexdigest()) == (file["bytes"], file["sha256"])
    assert {path.name for path in Path(folder).iterdir()} == {"manifest.json", *(f["name"] for f in manifest["files"])}
    return manifest


def expected(run, source="near"):
    """Cells of a source, as catalog, ledgers, samples and split say, with the reason for which one may fall out."""
    shards = [path.stem for path in sorted((run.root / "cells").glob(f"{source}-*.parquet"))]
    cells = tables.read_tables([run.root / "cells" / f"{shard}.parquet" for shard in shards])
    cells = cells[cells["status"] == "kept"].drop(columns=["source"])
    samples = tables.read_tables([run.root / "samples.parquet"])[["field_id", "status"]]
    folds = tables.read_tables([run.root / "split.parquet"])[["field_id", "gene_fold", "field_fold"]]
    cells = cells.merge(run.fields.drop(columns=["shard"]), on=["field_id", "version"])
    cells = cells.merge(samples.rename(columns={"status": "judged"}), on="field_id", how="left")
    return cells.merge(folds, on="field_id", how="left")


def masked_image(run, cell_id):
    image, masks = run.pixels[cell_id]
    return np.where(masks[0] == 1, image, 0)


@pytest.mark.parametrize(
    ("changes", "reason", "holds"),
    [
        ({}, None, None),
        ({"filters__genes": ["G01", "G12"]}, "gene", lambda c: c["genes"].map(lambda g: bool({*g} & {"G01", "G12"}))),
        ({"filters__cell_lines": ["U2OS"]}, "cell_line", lambda c: c["cell_line"] == "U2OS"),
        ({"filters__gene_folds": [0, 3]}, "gene_fold", lambda c: c["gene_fold"].isin([0, 3])),
        ({"filters__field_folds": [1]}, "field_fold", lambda c: c["field_fold"] == 1),
        ({"filters__exceeds_window": False}, "exceeds_window", lambda c: ~c["exceeds_window"].astype(bool)),
    ],
)
def test_what_is_left_out_is_counted_with_its_reason(run, tmp_path, changes, reason, holds):
    cells = expected(run)
    retired, small = cells["retired_in"].notna(), cells["judged"] == "rejected"
    assert retired.any()
    assert (small & ~retired).any()
    left = cells[~retired & ~small]
    own = left[holds(left)] if holds else left
    counts = {"in": len(cells), "kept": len(own), "retired": int(retired.sum()), "small_sample": int(small.sum())}
    if reason:
        assert 0 < len(own) < len(left)
        counts[reason] = len(left) - len(own)
    manifest = export(run, tmp_path / "out", "webdataset", **changes)
    assert manifest["counts"] == counts
    assert {*manifest["counts"]} - {"in", "kept"} <= {*EXPORT_REASONS}
    assert sorted(cell["cell_id"] for cell, _ in samples_of(tmp_path / "out")) == sorted(own["cell_id"])


def test_quality_of_the_field_decides_and_the_unknown_is_left_out(run):
    index = run.index
    filters = settings_of()["filters"]
    every, _ = choose_cells(index, "near", filters, False)
    measures = np.linspace(0, 1, index.n_fields)
    measures[::5] = np.nan
    for key, column, passes in (
        ("min_contrast", "contrast", measures >= 0.4),
        ("min_focus", "focus_protein", measures >= 0.4),
        ("max_saturated", "saturated_protein", measures <= 0.4),
    ):
        index._read = {column: exporting_cells.pa.array(measures, from_pandas=True)}
        rows, reasons = choose_cells(index, "near", filters | {key: 0.4}, False)
        np.testing.assert_array_equal(rows, every[passes[index.field_of(every)]])
        (reason,) = {*reasons} - {"small_sample"}
        assert reasons[reason] == len(every) - len(rows) > 0


def test_h5sc_opens_as_anndata_and_holds_every_cell(run, tmp_path):
    manifest = export(run, tmp_path / "out", "h5sc")
    path = tmp_path / "out" / "single_cells.h5sc"
    found = anndata.read_h5ad(path)
    images = found.obsm["single_cell_images"]
    assert images.shape == (manifest["cells"], 6, 32, 32)
    assert images.dtype == np.float16
    assert list(found.var["channels"]) == manifest["channels"]
    assert manifest["channels"][:2] == ["seg_all_nucleus", "seg_all_cytosol"]
    assert list(found.var["channel_mapping"]) == ["mask"] * 2 + ["image_channel"] * 4
    assert {*TOLD} <= {*found.obs.columns}
    for row, cell_id in enumerate(found.obs["cell_id"]):
        masks = run.pixels[cell_id][1] == 1
        np.testing.assert_array_equal(images[row, :2], masks[::-1].astype(np.float16))
        exact = (masked_image(run, cell_id).astype(np.float32) / np.float32(65535)).astype(np.float16)
        np.testing.assert_array_equal(images[row, 2:], exact)
    cells = expected(run).set_index("cell_id").loc[found.obs["cell_id"]]
    np.testing.assert_array_equal(found.obs["gene_fold"], cells["gene_fold"])
    assert found.obs["labels"].astype(object).where(found.obs["labels"].notna(), "").tolist() == [
        ";".join(labels) for labels in cells["labels"]
    ]
    assert found.obs["protein"].astype(object).where(found.obs["protein"].notna(), "").tolist() == [
        "/".join(genes) for genes in cells["genes"]
    ]


def test_h5sc_has_what_scportrait_asks_for(run, tmp_path):
    manifest = export(run, tmp_path / "out", "h5sc", h5sc__compression="gzip")
    with h5py.File(tmp_path / "out" / "single_cells.h5sc") as file:
        images = file["obsm/single_cell_images"]
        assert (images.chunks, images.compression) == ((1, 1, 32, 32), "gzip")
        assert images.attrs["encoding-type"] == "array"
        assert [name.decode() for name in images.attrs["channel_names"]] == manifest["channels"]
        assert images.attrs["n_masks"] == 2
        numbers = file["obs/scportrait_cell_id"]
        assert numbers.dtype == np.uint64
        np.testing.assert_array_equal(numbers[:], np.arange(1, manifest["cells"] + 1))
        said = anndata.io.read_elem(file["uns"])["single_cell_images"]
        assert (said["n_cells"], said["image_size"], said["normalization"]) == (manifest["cells"], 32, False)
        # it finds a cell's row by the index of obs, as a number
        assert anndata.io.read_elem(file["obs"]).index.astype(int).tolist() == list(range(manifest["cells"]))
        assert images[:].min() >= 0
        assert images[:].max() <= 1


def test_eight_bits_come_back_from_h5sc_exactly():
    every = np.arange(256, dtype=np.uint8).reshape(1, 1, 16, 16)
    stored = exporting_cells.scaled(every, "full_scale", np.array([255.0])).astype(np.float16)
    np.testing.assert_array_equal(np.rint(stored.astype(np.float64) * 255), every)


@pytest.mark.parametrize(("name", "low", "high"), [("kobayashi2022", 0, 100), ("stringer2021", 1, 99)])
def test_normalizations_go_from_0_to_1(run, tmp_path, name, low, high):
    export(run, tmp_path / "out", "h5sc", h5sc__normalization=name, h5sc__masked="neighbours")
    found = anndata.read_h5ad(tmp_path / "out" / "single_cells.h5sc")
    for row, cell_id in enumerate(found.obs["cell_id"][:20]):
        image, masks = run.pixels[cell_id]
        image = np.where(masks[0] == 2, 0, image).astype(np.float64)
        ends = np.percentile(image, [low, high], axis=(1, 2))[..., None, None]
        exact = np.clip((image - ends[0]) / np.where(ends[1] > ends[0], ends[1] - ends[0], 1), 0, 1)
        np.testing.assert_allclose(found.obsm["single_cell_images"][row, 2:], exact, atol=2**-11)
    said = found.uns["single_cell_images"]
    assert (said["normalization_range_lower"], said["normalization_range_upper"]) == (low / 100, high / 100)


def test_a_source_without_nuclei_has_one_mask(run, tmp_path):
    index = run.index
    rows, _ = choose_cells(index, "near", settings_of()["filters"], False)
    for store in index.stores.values():
        store["roles"] = ["reference", "microtubules", "er", "protein"]
    written = h5sc.write(tmp_path, index, rows, settings_of()["h5sc"])
    assert written.about["channels"] == ["seg_all_cytosol", "reference", "microtubules", "er", "protein"]
    found = anndata.read_h5ad(tmp_path / h5sc.FILE)
    cell_id = found.obs["cell_id"].iloc[-1]
    np.testing.assert_array_equal(found.obsm["single_cell_images"][-1, 0], run.pixels[cell_id][1][0] == 1)


def cytoself_reader(folder, channels):
    """What cytoself's data manager makes of a folder: its names, images with channels last, labels, proteins."""
    first = sorted(Path(folder).glob(f"*_{channels[0]}.npy"))
    stems = [path.name.rsplit("_", 1)[0] for path in first]
    images = []
    for channel in channels:
        planes = np.vstack([np.load(Path(folder) / f"{stem}_{channel}.npy") for stem in stems])[..., np.newaxis]
        planes *= {"nucdist": 0.01}.get(channel, 1)
        images.append(planes)
    labels = np.vstack([np.load(Path(folder) / f"{stem}_label.npy") for stem in stems])
    proteins = [path.name.split("_")[-2] for path in first]
    return np.concatenate(images, axis=-1), labels, proteins


def test_cytoself_reads_every_protein_back(run, tmp_path):
    manifest = export(run, tmp_path / "out", "cytoself", cytoself__size_px=20, cytoself__pixel_size_um=None)
    images, labels, proteins = cytoself_reader(tmp_path / "out", ["pro", "nuc", "nucdist"])
    cells = expected(run)
    cells = cells[cells["retired_in"].isna() & (cells["judged"] == "kept")]
    cells = cells[~cells["control"].astype(bool)].set_index("cell_id")
    columns = dict(zip(manifest["label_columns"], labels.T, strict=True))
    assert sorted(columns["cell_id"]) == sorted(cells.index)
    assert sorted(proteins) == sorted({genes[0] for genes in cells["genes"]}) == sorted(manifest["proteins"].values())
    assert images.dtype == np.float32
    assert images.shape == (len(cells), 20, 20, 3)
    for row, cell_id in enumerate(columns["cell_id"]):
        image = run.pixels[cell_id][0][:, 6:26, 6:26]
        for place, channel in enumerate((image[3], image[0])):
            exact = (channel - channel.min()) / max(float(channel.max()) - channel.min(), 1)
            np.testing.assert_allclose(images[row, ..., place], exact, atol=1e-6)
        # of the whole crop, as the store has it, in pixels
        exact = nucleus_distance(run.pixels[cell_id][1][1], 1.0)[6:26, 6:26]
        sure = np.abs(exact) < 6
        np.testing.assert_allclose(images[row, ..., 2][sure] * 100, exact[sure], rtol=1e-3, atol=1e-3)
        said = cells.loc[cell_id]
        assert columns["protein"][row] == columns["ensembl_id"][row] == said["genes"][0]
        assert columns["localization"][row] == ";".join(said["labels"])
        assert columns["gene_fold"][row] == str(said["gene_fold"])
        assert columns["field"][row] == f"{said['field_id']}@{said['version']}"
    assert manifest["label_columns"][:3] == ["ensembl_id", "protein", "localization"]
    assert manifest["label_columns"][-1] == "field"


def test_cells_without_a_protein_have_no_file_in_a_layout_of_proteins(run):
    index = run.index
    index._read = {"small_sample": exporting_cells.pa.array([False] * index.n_fields)}
    rows, reasons = choose_cells(index, "near", settings_of()["filters"], True)
    assert not index.table(rows, ["control"])["control"].any()
    assert reasons == {"no_protein": 9}
    assert len(choose_cells(index, "near", settings_of()["filters"], False)[0]) == len(rows) + 9


def test_cytoself_without_nuclei_has_the_protein_alone(run, tmp_path):
    index = run.index
    rows, _ = choose_cells(index, "near", settings_of()["filters"], True)
    for store in index.stores.values():
        store["roles"] = ["reference", "microtubules", "er", "protein"]
    written = cytoself_layout.write(
        tmp_path, index, rows, settings_of(cytoself__pixel_size_um=None, cytoself__size_px=32)["cytoself"]
    )
    assert {name.rsplit("_", 1)[1] for name in written.files} == {"label.npy", "pro.npy"}
    assert sum(count for name, count in written.files.items() if name.endswith("_pro.npy")) == len(rows)


def test_names_of_proteins_stay_apart():
    names = cytoself_layout.file_names(["HLA-A", "HLA_A", "hla a", "A/B", "../x", "µ"])
    assert names["HLA-A"] == "HLA-A"
    assert len({name.lower() for name in names.values()}) == 6
    assert all("_" not in name and "/" not in name and not name.startswith(".") for name in names.values())


def samples_of(folder):
    """Samples of all tar files in their order, as WebDataset groups members: JSON, and arrays by their extension."""
    found = []
    for path in sorted(Path(folder).glob("*.tar")):
        with tarfile.open(path) as tar:
            for member in tar:
                key, _, extension = member.name.partition(".")
                if not found or found[-1][2] != key:
                    found.append(({}, {}, key))
                content = tar.extractfile(member)
                if extension == "json":
                    found[-1][0].update(json.load(content))
                else:
                    found[-1][1][extension] = np.load(io.BytesIO(content.read()))
    assert len({key for _, _, key in found}) == len(found)
    return [(cell, arrays) for cell, arrays, _ in found]


def test_webdataset_gives_every_cell_back_as_it_is(run, tmp_path):
    manifest = export(run, tmp_path / "out", "webdataset", webdataset__shard_cells=40)
    found = samples_of(tmp_path / "out")
    assert len(found) == manifest["cells"]
    assert [file["cells"] for file in manifest["files"]] == [40] * (len(found) // 40) + [len(found) % 40]
    cells = expected(run).set_index("cell_id")
    for cell, arrays in found:
        image, masks = run.pixels[cell["cell_id"]]
        np.testing.assert_array_equal(arrays["image.npy"], image)
        assert arrays["image.npy"].dtype == np.uint16
        np.testing.assert_array_equal(arrays["masks.npy"], masks)
        said = cells.loc[cell["cell_id"]]
        assert cell["roles"] == ["nucleus", "microtubules", "er", "protein"]
        assert cell["genes"] == list(said["genes"])
        assert cell["labels"] == list(said["labels"])
        assert (cell["gene_fold"], cell["field_fold"]) == (said["gene_fold"], said["field_fold"])
        assert (cell["cell_line"], cell["pixel_size_um"]) == (said["cell_line"] or None, 0.32)
        assert (cell["area_um2"] is None) == np.isnan(said["area_um2"])
    with tarfile.open(tmp_path / "out" / "cells-000000.tar") as tar:
        members = tar.getmembers()
    assert [member.name.partition(".")[2] for member in members[:3]] == ["image.npy", "masks.npy", "json"]
    assert {(m.mtime, m.uid, m.gid, m.uname, m.gname) for m in members} == {(0, 0, 0, "", "")}


def test_a_seed_mixes_cells_and_none_leaves_them_in_order(run, tmp_path):
    order = {}
    for seed in (0, 1, None):
        export(run, tmp_path / str(seed), "webdataset", webdataset__seed=seed)
        order[seed] = [cell["cell_id"] for cell, _ in samples_of(tmp_path / str(seed))]
    index = run.index
    assert order[None] == index.cell_ids(np.sort(index.locate(order[None])))
    assert order[0] != order[1]
    assert sorted(order[0]) == sorted(order[1]) == sorted(order[None])


@pytest.mark.parametrize("layout", ["h5sc", "cytoself", "webdataset"])
def test_the_same_cells_give_the_same_bytes_however_many_are_read_at_once(run, tmp_path, monkeypatch, layout):
    changes = {"cytoself__size_px": 31, "webdataset__shard_cells": 25, "cytoself__pixel_size_um": 0.32}
    # lzf packs the same pixels now so, now so
    changes["h5sc__compression"] = "gzip"
    first = export(run, tmp_path / "a", layout, **changes)
    monkeypatch.setattr(exporting_cells, "BATCH_BYTES", 3 * 4 * 4 * 32 * 32)
    again = export(run, tmp_path / "b", layout, **changes)
    assert first == again
    assert first["files"]


def test_views_tell_their_true_pixel(run, tmp_path):
    export(run, tmp_path / "out", "webdataset", webdataset__pixel_size_um=0.5, webdataset__size_px=13)
    cell, arrays = samples_of(tmp_path / "out")[0]
    assert arrays["image.npy"].shape == (4, 13, 13)
    assert cell["pixel_size_um"] == pytest.approx(20 * 0.32 / 13)


def test_keys_are_safe_and_stay_apart():
    names = ["a.b", "a=2e=b", "a b", "a/b", "a_b", "a-b", "ab", "µ", "a:b"]
    keys = [key_of(name, "0123456789ab", 7) for name in names]
    assert len(set(keys)) == len(names)
    assert all(set(key) <= set("=-_0123456789abcdefghijklmnopqrstuvwxyz") for key in keys)
    assert keys[4] == "a_b_0123456789ab_7"


def test_nothing_left_is_said(run, tmp_path):
    for layout in ("h5sc", "cytoself", "webdataset"):
        manifest = export(run, tmp_path / layout, layout, source="far", filters__genes=["G01"])
        assert (manifest["cells"], manifest["files"]) == (0, [])
        assert "no cell of far is left" in (tmp_path / f"{layout}.json").read_text()


def test_what_cannot_be_exported_is_told(run, tmp_path):
    with pytest.raises(CropIndexError, match="G0100"):
        export(run, tmp_path / "out", "h5sc", filters__genes=["G01", "G0100"])
    with pytest.raises(
        ValueError, match=r"a view of 100 pixels of 0\.206 um is 20\.6 um wide; the crops are 10\.24 um"
    ):
        export(run, tmp_path / "out", "cytoself")
    index = run.index
    rows, _ = choose_cells(index, "near", settings_of()["filters"], False)
    index.stores["near-0002"]["pixel_size_um"] = 0.16
    with pytest.raises(CropIndexError, match="differ in pixel_size_um"):
        CellReader(index, rows, settings_of()["h5sc"])
    index = run.index
    index._read = {"full_scale": exporting_cells.pa.array([None] * index.n_fields, "float64")}
    reader = CellReader(index, rows, settings_of()["h5sc"])
    assert set(reader.full_scales(rows)) == {65535}
    for store in index.stores.values():
        store["dtype"] = "float32"
    with pytest.raises(ValueError, match=rf"{index.cell_ids(rows[:1])[0]}: shares of full scale are wanted"):
        next(reader.batches(rows))
    assert not (tmp_path / "out").exists()


def test_stores_of_8_and_16_bits_are_exported_together(tmp_path):
    """Each crop keeps its own full scale where the catalog says none."""
    run = indexed_run(tmp_path)
    store_in_8_bits(run, "near-0002")
    tables.write_table(run.root / "fields.parquet", run.fields.assign(full_scale=np.nan), tables.FIELDS)
    run.build()
    rows, _ = choose_cells(run.index, "near", settings_of()["filters"], False)
    for normalization, dtype in (("raw", np.uint16), ("full_scale", np.float32)):
        reader = CellReader(run.index, rows, {**settings_of()["webdataset"], "normalization": normalization})
        names = run.index.cell_ids(rows)
        wanted = [{np.uint8: 255, np.uint16: 65535}[run.pixels[name][0].dtype.type] for name in names]
        assert set(wanted) == {255, 65535}
        assert reader.full_scales(rows).tolist() == wanted
        assert reader.cells(rows)["full_scale"].tolist() == wanted
        images = np.concatenate([batch.images for batch in reader.batches(rows)])
        assert images.dtype == reader.dtype == dtype
        for image, name, scale in zip(images, names, wanted, strict=True):
            stored = run.pixels[name][0]
            np.testing.assert_allclose(image, stored if normalization == "raw" else stored / scale, rtol=1e-6)
    assert export(run, tmp_path / "out", "h5sc", h5sc__masked="none")["cells"] == len(rows)
    with h5py.File(tmp_path / "out" / "single_cells.h5sc") as file:
        images = file["obsm/single_cell_images"][:, -len(reader.roles) :]
    exact = np.stack([run.pixels[name][0] / scale for name, scale in zip(names, wanted, strict=True)])
    np.testing.assert_allclose(images, exact, atol=2**-11)


def test_a_damaged_crop_stops_the_export_and_leaves_what_was_there(tmp_path):
    run = indexed_run(tmp_path)
    before = export(run, tmp_path / "out", "webdataset")
    shard = max((run.root / "crops" / "near-0001.zarr" / "images").rglob("*"), key=lambda path: path.stat().st_size)
    content = bytearray(shard.read_bytes())
    content[len(content) // 3] ^= 1
    shard.write_bytes(content)
    with pytest.raises(DamagedCropsError):
        export(run, tmp_path / "out", "webdataset")
    assert json.loads((tmp_path / "out" / "manifest.json").read_text()) == before
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".out")]


def test_the_configuration_is_checked_before_any_job():
    roles = {"lab": ("nucleus", "protein"), "dyes": ("nucleus", "reference")}
    section = settings_of() | {"formats": ["cytoself", "h5sc"]}
    assert "needs the role protein, which source 'dyes'" in check_export(section, roles, {})
    section["cytoself"]["sources"] = ["lab"]
    assert check_export(section, roles, {"lab": 40.96}) is None
    wrong = check_export(section, roles, {"lab": 12.0})
    assert "100 pixels of 0.206 um are 20.6 um" in wrong
    assert "set crop.window_um to 20.6 or more" in wrong
    assert "export.cytoself.size_px to 58 or less" in wrong
    yeast = {"lab": ("protein", "reference")}
    assert "set crop.without_nucleus.window_um to 20.6" in check_export(section, yeast, {"lab": 10.24})
    section["h5sc"]["sources"] = ["x"]
    assert "'export.h5sc.sources': found 'x'; allowed are the sources of this run: 'lab', 'dyes'" in check_export(
        section, roles, {}
    )


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ({"formats": ["tiff"]}, "allowed are 'h5sc', 'cytoself', 'webdataset'"),
        ({"formats": ["h5sc"], "h5sc": {"sources": ["lap"]}}, "found 'lap'"),
        ({"formats": ["cytoself"], "cytoself": {"size_px": 300}}, "300 pixels of 0.206 um are 61.8 um"),
        ({"filters": {"gene": ["A"]}}, "unknown key 'gene'"),
    ],
)
def test_a_wrong_configuration_stops_before_any_job(words, says):
    with pytest.raises(ConfigError, match=says):
        check_config({"sources": {"lab": {"kind": "simulated"}}, "export": words})
