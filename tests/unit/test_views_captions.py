"""Captions of the report: every figure and table has one, and it renders as Snakemake renders it."""

import re
from pathlib import Path
from types import SimpleNamespace

import jinja2
import pytest
from wherein.settings import check_config, fill_defaults, schema
from wherein.views.pages import TEMPLATES, stated

WORKFLOW = Path(__file__).resolve().parents[2] / "workflow"
CAPTIONS = sorted(path.name for path in (WORKFLOW / "report").glob("*.rst"))


def asked() -> set[str]:
    rules = "".join(path.read_text(encoding="utf-8") for path in (WORKFLOW / "rules").glob("*.smk"))
    return set(re.findall(r'caption="\.\./report/([^"]+)"', rules)) | {"workflow.rst"}


def test_every_caption_is_there_and_used():
    assert asked() == set(CAPTIONS)


OF_PROTEINS = (
    *("complexes", "compartments", "enrichment", "gene_sets", "heatmap", "heterogeneity", "prerank", "set_pairs"),
    *("single_cells", "spectrum", "stability", "umap_proteins", "umap_units", "aligned"),
)
"""Captions of the atlas and the biology."""


@pytest.mark.parametrize("name", OF_PROTEINS)
def test_a_caption_with_p_says_its_test_universe_correction_and_n(name):
    text = (WORKFLOW / "report" / f"{name}.rst").read_text(encoding="utf-8")
    if not re.search(r"\b[pq]\b|false discovery|significant", text):
        assert re.search(r"[Nn]othing is tested|no test", text) or not re.search(r"\btest", text)
        return
    assert re.search(r"test[:; ,.(]", text)
    assert re.search(r"(?i)(one|two)-sided|permutation|exchanging", text)
    assert "universe" in text
    assert "Benjamini" in text or "without a correction" in text
    assert re.search(r"\b[nN]\b|number", text)


def page_source(name: str) -> str:
    """Template of a page with the templates that it takes in and the statements of tables that it asks for."""
    text = (TEMPLATES / name).read_text(encoding="utf-8")
    for other in re.findall(r'{% include "([^"]+)" %}', text):
        text += page_source(other)
    return re.sub(r'{{ stated\("(\w+)"\) }}', lambda found: stated(found[1]), text)


def shows_q(name: str) -> bool:
    script = TEMPLATES / name.replace(".html", ".js")
    both = page_source(name) + (script.read_text(encoding="utf-8") if script.exists() else "")
    return bool(re.search(r">q<|\.q\[|\bq: |[(\[`, ]q (<=|\$|&le;)|\bq_", both))


WITH_Q = sorted(path.name for path in TEMPLATES.glob("*.html") if path.name != "base.html" and shows_q(path.name))


def test_pages_with_q_are_known():
    assert {
        *("abundance.html", "audit.html", "clusters.html", "complexes.html", "contrasts.html", "gene_sets.html"),
        *("heterogeneity.html", "models.html", "protein.html", "proteins.html", "releases.html"),
    } <= set(WITH_Q)  # fmt: skip
    assert not {"about.html", "cost.html", "fields.html", "find.html", "maps.html", "segmentation.html"} & set(WITH_Q)


@pytest.mark.parametrize("name", WITH_Q)
def test_a_page_that_shows_q_names_test_universe_and_correction(name):
    text = page_source(name)
    assert "stated(" not in text
    assert re.search(r"[Tt]est\b|one-sided|audit\.test", text)
    assert re.search(r"[Uu]niverse", text)
    assert re.search(r"Benjamini|audit\.correction", text)
    assert re.search(r"\bn: |n_tests|\.n\b|\.N\b", text)


@pytest.mark.parametrize(
    ("page", "tables"),
    [
        ("releases.html", ["moved"]),
        ("contrasts.html", ["contrast_proteins", "contrast_classes"]),
        ("heterogeneity.html", ["heterogeneity", "heterogeneity_samples", "exclusive", "published_variation"]),
        ("complexes.html", ["complexes", "set_pairs"]),
    ],
)
def test_pages_say_what_the_tables_say(page, tables):
    text = page_source(page)
    assert all(stated(table) in text for table in tables)


FED_BY_THE_ATLAS = re.compile(
    r"Terms of cellular components of the Gene Ontology come in part from the Human Protein Atlas' own images: "
    r"for proteins of that atlas they are no independent evidence\."
)


@pytest.mark.parametrize("name", ["enrichment", "gene_sets", "prerank", "set_pairs"])
def test_captions_of_gene_sets_say_what_the_atlas_fed(name):
    assert FED_BY_THE_ATLAS.search((WORKFLOW / "report" / f"{name}.rst").read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    ("page", "after"),
    [
        ("complexes.html", ["gene sets told apart"]),
        ("clusters_groups.html", ["Clusters with a name", "Communities", "Within one location"]),
    ],
)
def test_pages_of_gene_sets_say_what_the_atlas_fed(page, after):
    text = page_source(page)
    for heading in after:
        part = re.split(r"<h[23]>", text.split(f"{heading}</h", 1)[1])[0]
        assert FED_BY_THE_ATLAS.search(part), heading


@pytest.mark.parametrize("name", CAPTIONS)
def test_a_caption_renders(name):
    docutils = pytest.importorskip("docutils.core")
    settings: dict = {}
    fill_defaults(settings, schema()["$defs"]["report"])
    config = {"sources": {"demo": {"kind": "simulated"}}, "models": {"classic": {"kind": "classic"}}}
    check_config(config)
    snakemake = SimpleNamespace(
        wildcards=SimpleNamespace(model="classic", aligned="models"),
        params=SimpleNamespace(settings=settings, level="cell"),
        config=config,
    )
    environment = jinja2.Environment(undefined=jinja2.StrictUndefined)
    text = environment.from_string((WORKFLOW / "report" / name).read_text(encoding="utf-8")).render(snakemake=snakemake)
    # halt_level 2: a warning of docutils would stand in the report as a red box
    body = docutils.publish_parts(text, writer="html", settings_overrides={"halt_level": 2})["body"]
    assert len(re.sub("<[^>]+>", "", body)) > 80
