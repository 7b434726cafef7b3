"""The recipe for the Allen Institute's collection, on drawn z-stacks from a server of the tests' own."""

import io
import re
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import tifffile
import yaml
from fault_server import FaultServer
from house import ROOT, House
from wherein.readers import read_field
from wherein.settings import fill_defaults, schema
from wherein.simulate.plan import plan_source
from wherein.simulate.shard import draw, planned

pytestmark = pytest.mark.slow

BASE = "https://allencell.s3.amazonaws.com/aics/hipsc_single_cell_image_dataset"
GENES = ("FBL", "LMNB1", "TOMM20")
DEPTH = 5
CHANNELS = 7


def stack(field: dict[str, np.ndarray], places: dict[str, int], seed: int) -> bytes:
    """An OME-TIFF, (Z, C, Y, X) uint16: the brightest of all planes is the drawn field, in each role's channel."""
    rng = np.random.default_rng(seed)
    shape = next(iter(field.values())).shape
    array = rng.integers(0, 50, (DEPTH, CHANNELS, *shape), dtype=np.uint16)
    for role, plane in field.items():
        brightest = rng.integers(0, DEPTH, shape)
        np.put_along_axis(array[:, places[role]], brightest[None], plane[None], axis=0)
    buffer = io.BytesIO()
    size = {"PhysicalSizeX": 0.108333, "PhysicalSizeXUnit": "µm", "PhysicalSizeY": 0.108333, "PhysicalSizeYUnit": "µm"}
    tifffile.imwrite(
        buffer, array, ome=True, photometric="minisblack", compression="zlib", metadata={"axes": "ZCYX", **size}
    )
    return buffer.getvalue()


@pytest.fixture(scope="module")
def collection():
    """The server, what was drawn by FOVId, and metadata.csv with one row a cell."""
    source = {"kind": "simulated", "proteins": 3, "fields_per_protein": 2, "controls": 0, "faults": 0}
    config = {"sources": {"demo": {**source, "mode": "two_roles", "field_px": 640, "pixel_size_um": 0.108333}}}
    fill_defaults(config, schema())
    plan = plan_source("demo", config["sources"]["demo"])
    server, drawn, rows = FaultServer(), {}, []
    for number, field_id in enumerate(plan.fields["field_id"]):
        field = draw(planned(plan, field_id, plan.version(field_id)))
        # the tag's channel differs between fields
        places = {"nucleus": 6, "protein": 3 + number % 2}
        path = f"fov_path/{number:08x}_Scene.ome.tiff"
        server.files[f"/{path}"] = stack(field.channels, places, number)
        drawn[f"{1000 + number}"] = field.channels
        row = {"FOVId": 1000 + number, "fov_path": path, "structure_name": GENES[number % 3], "PlateId": 35}
        row |= {"WellId": 7, "ChannelNumber405": 6, "ChannelNumber638": 1, "ChannelNumberStruct": places["protein"]}
        rows += [{"CellId": 10 * number + cell, **row, "edge_flag": 0} for cell in range(4)]
    yield server, drawn, pd.DataFrame(rows)
    server.stop()


def test_the_recipe_runs(collection, tmp_path):
    server, drawn, metadata = collection
    house = House(tmp_path / "house")
    recipe = (ROOT / "config" / "allen.yaml").read_text()
    # the table is made by the very command that the recipe gives
    (house.folder / "resources/allen").mkdir()
    metadata.to_csv(house.folder / "resources/allen/metadata.csv", index=False)
    command = re.search(r'python -c "\n(.*?)"$', recipe, re.S | re.M).group(1)
    script = "\n".join(line.removeprefix("#   ") for line in command.splitlines())
    subprocess.run([sys.executable, "-c", script], cwd=house.folder / "resources/allen", check=True)
    # and the run differs from the recipe in the server alone, and in what takes long
    assert recipe.count(BASE) == 4  # two roles, the metadata and a comment
    config = yaml.safe_load(recipe.replace(BASE, server.url("")))
    config["sources"]["allen"]["qc"]["min_cells"] = 2
    config["download"]["min_free_gb"] = 0
    (house.folder / "allen.yaml").write_text(yaml.safe_dump(config))
    house.snakemake("catalog", "--cores", "1", "--configfile", "allen.yaml")
    targets = [f"results/embeddings/{model}/allen-0001.parquet" for model in config["models"]]
    house.snakemake(*targets, "--cores", "2", "--configfile", "allen.yaml")

    results = house.folder / "results"
    fields = pd.read_parquet(results / "catalog/fields.parquet").set_index("field_id")
    assert set(fields.index) == set(drawn)
    assert set(fields["pixel_size_um"]) == {0.108333}
    assert set(fields["cell_line"]) == {"WTC-11"}
    assert {genes[0] for genes in fields["genes"]} == set(GENES)
    remote = pd.read_parquet(results / "catalog/remote.parquet")
    assert len(remote) == len(drawn)
    assert set(remote["revision"]) == {0}
    files = pd.concat([pd.read_parquet(path) for path in (results / "download").glob("*.parquet")])
    for field_id, own in files.groupby("field_id"):
        found = read_field(own)
        assert set(found) == {"nucleus", "protein"}
        for role, plane in found.items():
            # the brightest plane shows what was drawn, wherever that is above the empty planes' noise
            np.testing.assert_array_equal(
                plane[drawn[field_id][role] > 50], drawn[field_id][role][drawn[field_id][role] > 50]
            )
    cells = pd.concat([pd.read_parquet(path) for path in (results / "cells").glob("*.parquet")])
    kept = (cells["status"] == "kept").sum()
    assert kept > 10
    for model in config["models"]:
        vectors = pd.concat([pd.read_parquet(path) for path in (results / "embeddings" / model).glob("*.parquet")])
        assert len(vectors) == kept
        assert np.isfinite(np.stack(vectors["vector"])).mean() > 0.9
    assert house.planned(*targets, "--configfile", "allen.yaml") == {}
    print(f"{len(fields)} stacks, {kept} cells")  # noqa: T201

    # a stack changes under the same address: one field is worked on again, in a shard of its own
    path = next(iter(server.files))
    server.files[path] = stack(drawn["1001"], {"nucleus": 6, "protein": 3}, 99)
    sent = server.sent.copy()
    house.snakemake("catalog", "--forcerun", "catalog", "--cores", "1", "--configfile", "allen.yaml")
    assert house.planned(*targets, "--configfile", "allen.yaml") == {}
    new = "results/download/allen-0002.parquet"
    assert house.planned(new, "--configfile", "allen.yaml") == {"download": 1}
    house.snakemake(new, "--cores", "1", "--configfile", "allen.yaml")
    files = pd.read_parquet(house.folder / new)
    assert set(files["field_id"]) == {"1000"}
    shown = drawn["1001"]["nucleus"]
    np.testing.assert_array_equal(read_field(files)["nucleus"][shown > 50], shown[shown > 50])
    assert {name for name, size in server.sent.items() if size > sent[name]} == {path}
