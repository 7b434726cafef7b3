import hashlib
import io
import zipfile

import numpy as np
import pytest
import torch
import yaml
from wherein.labels import vocabulary
from wherein.models.export import CITATION, check, contents, credits_of, description, export_model, identifier
from wherein.models.networks.build import build
from wherein.models.networks.registry import NETWORKS
from wherein.models.trained import save_trained
from wherein.reading.normalization import NORMALIZATIONS

CLASSES = list(vocabulary("hpa19").classes)
SETTINGS = {
    "authors": [{"name": "Ada", "affiliation": "a lab", "orcid": "0000-0002-1825-0097"}],
    "license": "CC-BY-4.0",
}


@pytest.fixture(scope="module")
def package(tmp_path_factory):
    folder = tmp_path_factory.mktemp("export")
    network = build("gapnet-pl", 3, len(CLASSES), 1, 40).eval()
    roles = ["nucleus", "protein", "er"]
    about = {"model": "net", "kind": "gapnet-pl", "level": "field", "inputs": roles, "options": {},
             "classes": CLASSES, "vocabulary": "hpa19", "side_px": 40, "grid": "80px", "pixel_size_um": None,
             "normalization": "rumetshofer2019", "blank_neighbours": True, "seed": 1}  # fmt: skip
    save_trained(folder / "weights.pt", network, about)
    (folder / "card.md").write_text("# Model net\n")
    for name in ("one", "two"):
        paths = {part: str(folder / file) for part, file in (("weights", "weights.pt"), ("card", "card.md"),
                 ("package", f"{name}.zip"), ("summary", "summary.json"))}  # fmt: skip
        export_model("net", settings=SETTINGS, **paths)
    return folder, network


def test_the_package_answers_as_the_network_does(package):
    folder, network = package
    with zipfile.ZipFile(folder / "one.zip") as archive:
        described = yaml.safe_load(archive.read("rdf.yaml"))
        script = torch.jit.load(io.BytesIO(archive.read(described["weights"]["torchscript"]["source"])))
        given = np.load(io.BytesIO(archive.read(described["inputs"][0]["test_tensor"]["source"])))
        wanted = [np.load(io.BytesIO(archive.read(out["test_tensor"]["source"]))) for out in described["outputs"]]
    other = torch.randn(2, 3, 40, 40)
    with torch.inference_mode():
        found = script(torch.from_numpy(given))
        vector, logits = network(other)
        probabilities, again = script(other)
    for one, expected in zip(found, wanted, strict=True):
        np.testing.assert_allclose(one, expected, atol=1e-5)
    # traced, but not to one batch
    assert torch.allclose(probabilities, torch.sigmoid(logits), atol=1e-5)
    assert torch.allclose(again, vector, atol=1e-4)


def test_the_description_fits_the_files(package):
    folder, _ = package
    with zipfile.ZipFile(folder / "one.zip") as archive:
        described = yaml.safe_load(archive.read("rdf.yaml"))
        files = {name: archive.read(name) for name in archive.namelist()}
    named = [described["weights"]["torchscript"], *described["attachments"], described["inputs"][0]["test_tensor"]]
    named += [out["test_tensor"] for out in described["outputs"]]
    for entry in named:
        assert hashlib.sha256(files[entry["source"]]).hexdigest() == entry["sha256"]
    assert files[described["documentation"]] == b"# Model net\n"
    _, channel, y, x = described["inputs"][0]["axes"]
    assert channel["channel_names"] == ["nucleus", "protein", "er"]
    assert (y["size"], x["size"]) == np.load(io.BytesIO(files["test_input.npy"])).shape[2:]
    names = described["outputs"][0]["axes"][1]["channel_names"]
    assert len(set(names)) == len(CLASSES)
    assert all(name.isidentifier() for name in names)


def test_the_same_network_gives_the_same_content(package):
    folder, _ = package
    with zipfile.ZipFile(folder / "one.zip") as one, zipfile.ZipFile(folder / "two.zip") as two:
        assert one.namelist() == two.namelist()
        # TorchScript writes its own bytes anew each time
        for name in set(one.namelist()) - {"rdf.yaml", "weights.torchscript.pt"}:
            assert one.read(name) == two.read(name), name


def test_other_weights_are_not_let_out(package):
    folder, _ = package
    with zipfile.ZipFile(folder / "one.zip") as archive:
        script = archive.read("weights.torchscript.pt")
    with pytest.raises(RuntimeError, match="away from the network"):
        check(script, torch.zeros(1, 3, 40, 40), torch.ones(1, 19), torch.zeros(1, 256))


def test_a_package_names_its_authors_and_papers(package):
    folder, _ = package
    with zipfile.ZipFile(folder / "one.zip") as archive:
        described = yaml.safe_load(archive.read("rdf.yaml"))
    assert described["authors"] == SETTINGS["authors"]
    assert described["license"] == "CC-BY-4.0"
    # the format's bounds, which its own validator holds (bioimageio.spec 0.5.14.3)
    assert all(len(given["description"]) <= 128 for given in described["inputs"])
    assert len(described["name"]) <= 128
    nobody = {"authors": [], "license": None}
    known = yaml.safe_load(CITATION.read_text())
    assert credits_of("anyone", nobody)["authors"] == [{"name": author["name"]} for author in known["authors"]]
    assert "license" not in credits_of("anyone", nobody)
    assert credits_of("anyone", nobody)["cite"][0]["url"]
    titles = {paper["title"]: paper for paper in known["references"]}
    for entry in NETWORKS.values():
        (cite,) = credits_of(entry.source, nobody)["cite"]
        paper = next(paper for title, paper in titles.items() if cite["text"].startswith(title))
        assert paper["authors"][0]["family-names"] in entry.source
        assert str(paper["year"]) in entry.source
        assert cite.get("doi", cite.get("url")) in (paper.get("doi"), paper.get("url"))


@pytest.mark.parametrize("level", ["cell", "field"])
@pytest.mark.parametrize("normalization", NORMALIZATIONS)
def test_descriptions_are_short_enough(level, normalization):
    about = {"model": "m" * 200, "kind": "vit", "level": level, "inputs": ["protein"], "classes": ["A"], "seed": 0,
             "vocabulary": "hpa19", "side_px": 1024, "grid": "0.123456um", "pixel_size_um": 0.123456,
             "normalization": normalization}  # fmt: skip
    names = ("weights.torchscript.pt", "classes.tsv", "test_input.npy", "test_probabilities.npy", "test_vector.npy")
    described = description(about, SETTINGS, dict.fromkeys(names, "0"))
    assert described["inputs"][0]["description"].endswith("(README.md)"), "nothing was cut off"


def test_names_of_channels():
    assert identifier("Nucleoli fibrillar center") == "nucleoli_fibrillar_center"
    assert identifier("Vesicles & (others)") == "vesicles_others"


def test_a_network_that_tells_reagents_apart_is_not_packed_as_if_it_told_locations(package):
    _, network = package
    with pytest.raises(ValueError, match="predicts no location"):
        contents(network, {"model": "net", "reagents": ["A1", "A2"]}, "", SETTINGS)
