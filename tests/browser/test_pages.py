"""The pages in a real browser, opened from a folder: no script fails, and people find what they look for."""

import html
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from unit.fake_groups import write_fake_groups
from unit.fake_run import empty_model, write_fake_run
from unit.fake_scores import write_fake_scores
from wherein.settings import fill_defaults, schema
from wherein.views.site import build_site

BROWSER = next(
    (found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))), None
)
QUIET = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --enable-logging=stderr --hide-scrollbars --virtual-time-budget=8000"
)

RUN_FIGURES = ("qc_measures", "qc_examples", "segmentation_overlays", "cells_measures")
MODEL_FIGURES = (
    *("umap_units", "umap_proteins", "heatmap", "classes", "enrichment", "heterogeneity"),
    *("gene_sets", "complexes", "set_pairs", "prerank"),
    *("single_cells", "compartments"),
)


@pytest.fixture(scope="module", autouse=True)
def browser():
    if BROWSER is None:
        message = "no chromium is installed: the pages are not opened"
        if os.environ.get("CI", "").lower() in ("true", "1"):
            pytest.fail(message)
        pytest.skip(message)


@pytest.fixture(scope="module")
def site(browser, tmp_path_factory) -> Path:
    run = write_fake_run(tmp_path_factory.mktemp("run"), genes=8, yeast=1, fields_each=1, shape=(216, 290))
    empty_model(run, "empty")
    figures = run.root / "report" / "figures"
    wanted = [figures / f"{name}.png" for name in RUN_FIGURES]
    wanted += [figures / model / f"{name}.png" for model in run.models for name in MODEL_FIGURES]
    for path in wanted:
        path.parent.mkdir(parents=True, exist_ok=True)
        _blank_png(path)
    settings: dict = {}
    fill_defaults(settings, schema()["$defs"]["report"])
    write_fake_scores(run, {**settings, "dpi": 50})
    for model in run.models:
        write_fake_groups(run, model, {**settings, "dpi": 50}, {}, trees=model == "classic")
    sources = {name: {"kind": "simulated"} for name in ("human", "yeast")}
    # a space and an accent: people unpack reports anywhere
    folder = tmp_path_factory.mktemp("a réport") / "site"
    build_site(run.site_inputs(), settings, sources, run.models, {}, str(folder), str(folder.with_suffix(".json")))
    return folder


def _blank_png(path: Path) -> None:
    from PIL import Image

    Image.new("RGB", (20, 10), "white").save(path)


def opened(site: Path, page: str, tmp_path: Path, script: str = "") -> str:
    """The page's content after its scripts, and after `script`, ran; fails if any of them failed."""
    name, _, anchor = page.partition("#")
    if script:
        # a probe page beside the others acts as a person would
        text = (site / name).read_text(encoding="utf-8")
        probe = f"<script>setTimeout(() => {{ {script} }}, 1500);</script></body>"
        name = f"probe-{tmp_path.name}.html"
        (site / name).write_text(text.replace("</body>", probe), encoding="utf-8")
    address = (site / name).as_uri() + (f"#{anchor}" if anchor else "")
    command = [
        str(BROWSER),
        *QUIET.split(),
        f"--user-data-dir={tmp_path / 'profile'}",
        "--window-size=1400,1000",
        "--dump-dom",
        address,
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=90, check=False)
    if script:
        (site / name).unlink()
    said = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    assert said == [], f"{page}: {said}"
    assert "<main" in done.stdout, done.stderr[-2000:]
    return html.unescape(done.stdout)


@pytest.mark.parametrize(
    ("page", "expected"),
    [
        ("index.html", ["What came in, and what became of it", "channel mismatch", "guessing"]),
        ("models.html", ["Which is better than which", "gapnet", "What they cost"]),
        ("model-classic.html", ["Each location", "vote of expert", "Errors to look at"]),
        ("model-empty.html", ["Not scored"]),
        ("proteins.html", ["HGENE0", "YGENE0", "controls", "Nucleoplasm", "10 rows"]),
        ("protein.html#HGENE3", ["HGENE3", "Mitochondria", "One contrast for all cells", "Most alike in the atlas"]),
        ("protein.html", ["Choose a protein from"]),
        ("fields.html", ["human-0001_000", "low contrast", "at least 0.2 is allowed"]),
        ("segmentation.html", ["Methods against the truth", "shifted", "in use", "Doubt", "11 rows"]),
        ("maps.html", ["Plasma membrane", "cells"]),
        ("clusters.html", ["Cluster 1", "nucleolus", "1 alike: vesicle membrane"]),
        ("heterogeneity.html", ["HGENE1", "Brightest cells", "Nucleoli 5 | Cytosol 3", "Follows"]),
        ("abundance.html", ["HGENE1", "its source has no controls", "3 of 150", "none: intensities as measured"]),
        ("contrasts.html", ["HGENE0", "condition drug", "Nucleoli +60%", "too few replicates on a side", "its q"]),
        ("protein.html#HGENE0", ["Abundance", "background of the plate", "detected"]),
        ("releases.html", ["HGENE1", "arrow from the old place", "+ Nucleoli", "human-gone", "relabelled"]),
        ("protein.html#HGENE1", ["since human:1", "Its mean moved by"]),
        ("protein.html#HGENE2", ["since human:1", "Cytosol → Cytosol, Nucleoli"]),
        ("about.html", ["Quality control", "a channel's file cannot be decoded"]),
    ],
)
def test_a_page_opens_without_errors(site, tmp_path, page, expected):
    text = opened(site, page, tmp_path)
    assert [each for each in expected if each not in text] == []


def test_columns_of_which_nothing_is_known_are_named_and_not_shown(site, tmp_path):
    script = """wherein.table(document.getElementById("fields"), {
        count: 2, caption: "x", placeholder: "y", search: () => "", sort: [1, -1], columns: [
            { title: "Known", value: (i) => i, show: (i) => `row ${i}` },
            { title: "Silent", value: () => null, show: () => "silence" },
            { title: "Half", value: (i) => i ? null : 1, show: (i) => i ? "dash" : "one" },
            { title: "Pictures", there: () => false, show: () => "silence" }] });"""
    text = opened(site, "heterogeneity.html", tmp_path, script)
    assert "Not known of any row, and left out: Silent, Pictures." in text
    shown = text[text.index('<div id="fields">') :].split("left out: ")[0]
    assert "silence" not in shown
    assert all(word in shown for word in ("row 0", "row 1", "Half", "dash"))
    assert shown.index("row 1") < shown.index("row 0"), "sorted by the first column, as the wanted one is not shown"


def test_a_failing_script_is_noticed(site, tmp_path):
    with pytest.raises(AssertionError, match="nobodyKnowsThis"):
        opened(site, "about.html", tmp_path, "nobodyKnowsThis();")


def test_no_page_is_wider_than_a_telephone(site, tmp_path):
    # a window cannot be narrower than 500 px, frames in it can
    pages = sorted(path.stem for path in site.glob("*.html"))
    frames = []
    for page in pages:
        tell = f"setTimeout(() => parent.postMessage('{page} ' + document.documentElement.scrollWidth, '*'), 1500);"
        text = (site / f"{page}.html").read_text(encoding="utf-8")
        (site / f"inner-{page}.html").write_text(text.replace("</body>", f"<script>{tell}</script></body>"), "utf-8")
        anchor = "#HGENE3" if page == "protein" else ""
        frames.append(f'<iframe src="inner-{page}.html{anchor}" width="400" height="800"></iframe>')
    hear = "addEventListener('message', (event) => { document.querySelector('main').append(` [${event.data}]`); });"
    outer = site / "outer.html"
    outer.write_text(f"<!doctype html><main>{''.join(frames)}</main><script>{hear}</script>", encoding="utf-8")
    told = opened(site, outer.name, tmp_path)
    widths = {page: int(width) for page, width in re.findall(r"\[([\w-]+) (\d+)\]", told)}
    for path in [outer, *site.glob("inner-*.html")]:
        path.unlink()
    assert sorted(widths) == pages
    assert {page: width for page, width in widths.items() if width > 400} == {}


def rows_of(text: str) -> list[str]:
    return re.findall(r'<a href="protein.html#([^"]+)"', text)


def test_searching_proteins(site, tmp_path):
    script = (
        "const box = document.querySelector('input[type=search]'); box.value = 'MEMBRANE hgene4';"
        "box.dispatchEvent(new Event('input'));"
    )
    text = opened(site, "proteins.html", tmp_path, script)
    assert rows_of(text) == ["HGENE4"]
    assert "1 of 10 rows" in text


def test_filtering_and_sorting_fields(site, tmp_path):
    script = (
        "const [reason] = document.querySelectorAll('.tools select'); reason.value = 'corrupt';"
        "reason.dispatchEvent(new Event('change'));"
    )
    text = opened(site, "fields.html", tmp_path, script)
    assert re.search(r"2 of \d+ rows", text)
    assert text.count('class="tag off"') == 2
    script = "[...document.querySelectorAll('thead button')].find((b) => b.textContent === 'Contrast').click();"
    text = opened(site, "fields.html", tmp_path, script)
    assert re.search(r'aria-sort="descending"[^>]*>\s*<button[^>]*>Contrast', text)
    # fields that could not be measured stay last in either direction
    shown = re.findall(r'class="tag (?:on|off)">([a-z ]+)<', text)
    assert shown[-2:] == ["corrupt", "corrupt"]


def test_choosing_another_model(site, tmp_path):
    script = "const m = document.getElementById('model'); m.value = 'empty'; m.dispatchEvent(new Event('change'));"
    assert "Nothing to show: there were too few cells for a UMAP." in opened(site, "maps.html", tmp_path, script)
    text = opened(site, "heterogeneity.html", tmp_path / "other", script)
    assert "No protein has enough cells." in text


def test_pointing_at_the_map_shows_the_cell(site, tmp_path):
    script = """
      const c = document.getElementById('canvas'); const area = c.getBoundingClientRect();
      const said = new Set();
      for (let x = 5; x < area.width; x += 9) for (let y = 5; y < area.height; y += 9) {
        const at = { clientX: area.left + x, clientY: area.top + y, pointerId: 1 };
        c.dispatchEvent(new PointerEvent('pointermove', at));
        const tip = document.getElementById('tip');
        if (!tip.hidden) said.add(tip.querySelector('b').textContent + (tip.querySelector('.tile') ? ' pictured' : ''));
      }
      document.body.dataset.said = [...said].join(';');
    """
    said = re.search(r'data-said="([^"]*)"', opened(site, "maps.html", tmp_path, script))[1].split(";")
    assert {f"HGENE{number} pictured" for number in range(8)} <= set(said)


def test_finding_a_protein_on_the_map(site, tmp_path):
    script = "const f = document.getElementById('find'); f.value = 'HGENE2'; f.dispatchEvent(new Event('input'));"
    told = re.search(r'id="told"[^>]*>([^<]*)<', opened(site, "maps.html", tmp_path, script))[1]
    cells = int(re.search(r"; (\d+) found", told)[1])
    assert 0 < cells < 20


def test_neighbours_lead_from_protein_to_protein(site, tmp_path):
    script = "document.querySelector('.near a').click();"
    text = opened(site, "protein.html#HGENE0", tmp_path, script)
    assert re.search(r"<h1>[HY]GENE\d+</h1>", text)
    assert "<h1>HGENE0</h1>" not in text


def test_moved_proteins_are_marked_on_list_and_map(site, tmp_path):
    script = (
        "const change = [...document.querySelectorAll('.tools select')].find((s) => s.ariaLabel === 'Change');"
        "change.value = 'moved'; change.dispatchEvent(new Event('change'));"
    )
    assert rows_of(opened(site, "proteins.html", tmp_path, script)) == ["HGENE1"]
    script = (
        "const c = document.getElementById('colour'); c.value = 'change since human:1';"
        "c.dispatchEvent(new Event('change'));"
    )
    text = opened(site, "maps.html", tmp_path / "map", script)
    legend = re.findall(r"</svg>([a-z ]+)<span class=\"n\">([\d,]+)", text)
    assert [name for name, _ in legend] == ["moved", "relabelled", "unchanged", "not in both"]
    assert all(int(count) > 0 for _, count in legend)


def test_a_model_of_one_release_has_nothing_to_compare(site, tmp_path):
    script = "const m = document.getElementById('model'); m.value = 'gapnet'; m.dispatchEvent(new Event('change'));"
    assert "has worked on one release only" in opened(site, "releases.html", tmp_path, script)
