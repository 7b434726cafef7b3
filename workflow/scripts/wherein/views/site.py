"""The pages that people browse: plain files that open from a folder, without a server and without the internet."""

import logging
import shutil
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pandas as pd

from wherein import __version__
from wherein.atomic import atomic_path
from wherein.reasons import CELL_REASONS, FIELD_REASONS, KEPT, SEGMENT_REASONS
from wherein.summary import stage_summary
from wherein.tables import write_tsv
from wherein.views.abundance_page import abundance_page
from wherein.views.attribution import Credit, attributions
from wherein.views.cell_pictures import CONTROLS, CropImages, choose_cells, draw_cells
from wherein.views.clusters_page import grouped
from wherein.views.composites import legend_in_words
from wherein.views.contrasts_page import contrast_pages, wanted_cells
from wherein.views.examples import FieldImages
from wherein.views.field_pictures import choose_fields, draw_fields
from wherein.views.gene_sets_page import gene_set_pages
from wherein.views.methods import METHODS
from wherein.views.model_pages import chance, comparison, model_pages, span
from wherein.views.neighbours_page import neighbour_pages, pictured
from wherein.views.pages import STAGE_NAMES, TEMPLATES, UNKNOWN_HERE, duration, environment, share, thousands
from wherein.views.releases import CHANGES, summary_of_changes
from wherein.views.scores import best_terms, leading_terms
from wherein.views.segmentation_page import (
    cell_quality,
    draw_doubtful,
    field_quality,
    marked_labels,
    method_tables,
    page_table,
    read_scores,
)
from wherein.views.site_data import Pictures, put, write_data
from wherein.views.site_tables import ModelTables, RunTables, paths_of, read_run
from wherein.views.style import words

log = logging.getLogger(__name__)

PAGES = (
    ("index.html", "Overview"),
    ("models.html", "Models"),
    ("proteins.html", "Proteins"),
    ("fields.html", "Fields"),
    ("segmentation.html", "Segmentation"),
    ("maps.html", "Maps"),
    ("clusters.html", "Clusters"),
    ("gene_sets.html", "Gene sets"),
    ("complexes.html", "Complexes"),
    ("neighbours.html", "Neighbours"),
    ("audit.html", "Label audit"),
    ("heterogeneity.html", "Heterogeneity"),
    ("abundance.html", "Abundance"),
    ("contrasts.html", "Contrasts"),
    ("releases.html", "What changed"),
    ("about.html", "About"),
)
"""Pages in the order of the navigation; protein.html and the page of each model are reached from the others."""

FIGURES = (
    ("qc_measures", "Measures of quality control by reason"),
    ("qc_examples", "Fields that passed and fields that did not"),
    ("segmentation_overlays", "Outlines of nuclei and cells over fields"),
    ("cells_measures", "Counts and sizes of cells"),
)

SAMPLES_WITH_CELLS = 200
"""Samples, the most certainly heterogeneous first, whose example cells are drawn."""

REASONS = {**FIELD_REASONS, **SEGMENT_REASONS, **CELL_REASONS}


def build_site(
    inputs: dict[str, Any],
    settings: dict[str, Any],
    sources: dict[str, Any],
    models: dict[str, Any],
    gene_sets: dict[str, Any],
    site: str,
    summary: str,
) -> None:
    """Build all pages; the folder appears when it is whole.

    Args:
        inputs: paths by the names that the rule gives them; one path or a list.
        settings: the section `report` of the configuration.
        sources: the section `sources`.
        models: the section `models`.
        gene_sets: the key `biology.gene_sets`.
        site: folder to write.
        summary: JSON with the counts of pages, files and bytes.
    """
    with stage_summary(summary, "build_site", "run", ("jinja2", "pillow", "anndata")) as told:
        run = read_run(inputs, models)
        with atomic_path(site) as partial:
            partial.mkdir()
            wanted = [*wanted_cells(inputs), *_wanted(run), *pictured(inputs)]
            shown = choose_cells(run.ledger, list(dict.fromkeys(wanted)), settings["cells_per_protein"])
            cells = draw_cells(shown, CropImages(paths_of(inputs, "crops")), partial / "sheets", settings)
            chosen = choose_fields(run.judged[run.judged["pixels"].astype(bool)], settings["field_pictures"])
            images = FieldImages(paths_of(inputs, "files"), inputs.get("listed"))
            fields, heights = draw_fields(chosen, images, partial / "sheets", settings)
            pictures = Pictures(cells, fields, heights)
            proteins = write_data(partial / "data", run, shown, pictures, settings)
            near = neighbour_pages(partial / "data", inputs, run, pictures, settings["max_q"])
            outlines = _segmentation(partial, run, inputs, images, settings)
            own_pages = model_pages(inputs, run.models, run.summaries, images, partial, settings)
            _copy_figures(partial / "figures", inputs, run.models)
            _copy_assets(partial / "assets")
            groupings = grouped(inputs, partial, settings["max_q"])
            credits_ = attributions(run, sources, gene_sets, inputs)
            write_tsv(partial / "licences.tsv", pd.DataFrame(credits_, columns=Credit._fields), Credit._fields)
            content = {**_content(run, sources, credits_, settings), **outlines, "comparison": comparison(inputs)}
            content["gene_sets"] = gene_set_pages(inputs, settings["max_q"])
            content["groupings"], content["neighbours"] = groupings, near
            content["abundance"] = abundance_page(inputs, run.judged, sources, partial, settings)
            content["contrasts"] = contrast_pages(inputs, run.summaries, partial, pictures, settings)
            content["negative"] = _negative(run.summaries)
            pages = _render(partial, content, own_pages)
            files = [path for path in partial.rglob("*") if path.is_file()]
            told.extra["site"] = {
                "pages": pages,
                "proteins": proteins,
                "cell_pictures": len(shown),
                "field_pictures": len(fields),
                "files": len(files),
                "bytes": sum(path.stat().st_size for path in files),
            }
        told.counts = {"in": len(run.judged), "kept": len(run.judged)}
        unread = len(chosen) - len(fields)
        if unread:
            told.notes.append(f"{unread} of {len(chosen)} fields have no picture: they cannot be read")
        log.info("%s", told.extra["site"])


def _segmentation(
    folder: Path, run: RunTables, inputs: dict[str, Any], images: FieldImages, settings: dict[str, Any]
) -> dict[str, Any]:
    """Write the data and pictures of the page of segmentation; what its template is given."""
    scored = read_scores(paths_of(inputs, "segmentation_tables"))
    quality = paths_of(inputs, "quality")
    cells = cell_quality(quality, run.judged)
    table = page_table(field_quality(quality), cells, run.judged, scored["fields"])
    put(folder / "data" / "segmentation.js", "segmentation", {name: table[name] for name in table.columns})
    masks = {Path(path).stem: path for path in paths_of(inputs, "masks")}
    marked = marked_labels(cells)
    doubtful = draw_doubtful(table, run.ledger, images, masks, marked, folder / "overlays", settings)
    return {
        "doubtful": [{name: None if pd.isna(value) else value for name, value in row.items()} for row in doubtful],
        "method_tables": method_tables(scored["methods"], scored["curves"]),
    }


def _negative(summaries: Iterable[dict[str, Any]]) -> dict[str, str]:
    """What set the limit below which a cell of each model is Negative."""
    told = [each for each in summaries if each["stage"] == "cell_labels"]
    return {each["item"]: note for each in told for note in each["notes"] if "Negative" in note}


def _wanted(run: RunTables) -> list[str]:
    """Cells that findings point at, the most striking findings first."""
    wanted: list[str] = []
    for model in run.models:
        table = model.heterogeneity.sort_values("spread_z", ascending=False)
        for column in ("cells_high", "cells_low"):
            wanted += [cell for ids in table[column] if isinstance(ids, str) for cell in ids.split(";")]
        striking = model.heterogeneity_samples.head(SAMPLES_WITH_CELLS)
        for column in ("cells_high", "cells_low"):
            wanted += [cell for ids in striking[column] if isinstance(ids, str) for cell in ids.split(";")]
    wanted += _extremes(run)
    return list(dict.fromkeys(wanted))


def _extremes(run: RunTables, fields: int = 60, cells: int = 3) -> list[str]:
    """The dimmest and brightest cells of the fields whose cells differ most in intensity."""
    if "mean_protein" not in run.ledger:
        return []
    kept = run.ledger[run.ledger["status"] == KEPT].sort_values("mean_protein")
    by_field = dict(list(kept.groupby(["field_id", "version"])))
    found: list[str] = []
    for model in run.models:
        striking = model.heterogeneity_fields.sort_values("intensity_cv_z", ascending=False).head(fields)
        for key in zip(striking["field_id"], striking["version"], strict=True):
            if key in by_field:
                found += [*by_field[key]["cell_id"].head(cells), *by_field[key]["cell_id"].tail(cells)]
    return found


def _copy_figures(folder: Path, inputs: dict[str, Any], models: list[ModelTables]) -> None:
    folder.mkdir()
    for path in [*paths_of(inputs, "run_figures"), *paths_of(inputs, "comparison_figures")]:
        shutil.copyfile(path, folder / Path(path).name)
    for model in models:
        (folder / model.name).mkdir()
        for path in sorted(model.figures.glob("*.png")):
            shutil.copyfile(path, folder / model.name / path.name)


def _copy_assets(folder: Path) -> None:
    folder.mkdir()
    for path in sorted([*TEMPLATES.glob("*.css"), *TEMPLATES.glob("*.js")]):
        shutil.copyfile(path, folder / path.name)


def _render(folder: Path, content: dict[str, Any], own_pages: list[dict[str, Any]]) -> int:
    templates = environment()
    templates.globals.update(span=span, chance=chance)
    for model in own_pages:
        text = templates.get_template("model.html").render(
            **content, model=model, title=model["name"], here="models.html", pages=PAGES
        )
        (folder / model["page"]).write_text(text, encoding="utf-8")
    names = [*(page for page, _ in PAGES), "protein.html"]
    titles = {**dict(PAGES), "protein.html": "Protein"}
    for name in names:
        text = templates.get_template(name).render(
            **content, title=titles[name], here="proteins.html" if name == "protein.html" else name, pages=PAGES
        )
        (folder / name).write_text(text, encoding="utf-8")
    return len(names) + len(own_pages)


def _content(
    run: RunTables, sources: dict[str, Any], credits_: list[Credit], settings: dict[str, Any]
) -> dict[str, Any]:
    named = run.judged["protein"].dropna()
    proteins = int(named[named != CONTROLS].nunique())
    kept = int((run.ledger["status"] == KEPT).sum())
    passed = int((run.judged["status"] == "passed").sum())
    scored = [_model(model, settings) for model in run.models]
    kinds = {source["kind"] == "crops" for source in sources.values() if has_cells(source)}
    came = "imported" if kinds == {True} else "outlined or imported" if True in kinds else "outlined" if kinds else ""
    return {
        "version": __version__,
        "sources": [{"name": name} for name in sources],
        "totals": {"proteins": proteins, "fields": len(run.judged)},
        "without_pixels": int((~run.judged["pixels"].astype(bool)).sum()),
        "headline": headline(proteins, len(run.judged), passed, len(run.ledger), kept, run.models, came),
        "funnel": funnel(run.balance),
        "balance": run.balance.to_dict("records"),
        "models": scored,
        "any_truth": any(model["truth"] != UNKNOWN_HERE for model in scored),
        "segmentation": [
            {"object": name, **{key: share(found.get(key)) for key in ("recall", "precision", "f1", "false_share")}}
            for name, found in run.segmentation.items()
            if isinstance(found, dict) and "recall" in found
        ],
        "overrides": run.overrides.astype(object).where(run.overrides.notna(), "").to_dict("records"),
        "left_out": run.left_out.fillna(UNKNOWN_HERE).to_dict("records"),
        "steps": summary_of_changes(run.changes),
        "changes": CHANGES,
        "credits": credits_,
        "unlicensed": [row.name for row in credits_ if row.missing],
        "stages": stages(run.summaries),
        "notes": [
            {"stage": each["stage"], "item": each["item"], "text": note}
            for each in run.summaries
            for note in each.get("notes", [])
        ],
        "figures": FIGURES,
        "methods": METHODS,
        "reasons": [
            *(("field", name, text) for name, text in FIELD_REASONS.items()),
            *(("cell", name, text) for name, text in CELL_REASONS.items()),
        ],
        "colours": legend_in_words(["protein", "nucleus", "microtubules", "er", "reference"]).capitalize(),
    }


def has_cells(source: dict[str, Any]) -> bool:
    """Whether cells of a source are counted: vectors made elsewhere may be of whole fields."""
    return source["kind"] != "vectors" or source.get("level") == "cell"


def headline(
    proteins: int, fields: int, passed: int, cells: int, kept: int, models: list[ModelTables], came: str
) -> list[dict[str, str]]:
    """The figures at the head of the overview.

    `came` says how cells came into the run: outlined, or imported; it is empty where there are none, but vectors of
    fields.
    """
    best = max(
        (model for model in models if model.scores.get("macro_f1") is not None),
        key=lambda model: model.scores["macro_f1"],
        default=None,
    )
    told = [
        {"name": "proteins", "value": thousands(proteins), "note": "by gene symbol or Ensembl id"},
        {"name": "fields passed", "value": thousands(passed), "note": f"of {thousands(fields)} in the catalog"},
        *([{"name": "cells kept", "value": thousands(kept), "note": f"of {thousands(cells)} {came}"}] if came else []),
    ]
    if best is not None:
        note = f"{best.name}; guessing gives {share(best.scores.get('baseline_macro_f1'))}"
        told.append({"name": "mean F1 over locations", "value": share(best.scores["macro_f1"]), "note": note})
    return told


def funnel(balance: pd.DataFrame) -> list[dict[str, Any]]:
    """Stages in their order, over all sources: what came in, was kept, and fell to each reason.

    Args:
        balance: results/report/balance.tsv.

    Returns:
        For each stage and item: name, item, count_in, kept, reasons (name, text, count), balanced, missing.
    """
    found: dict[tuple[str, str], dict[str, int]] = defaultdict(lambda: defaultdict(int))
    for row in balance.itertuples():
        found[(row.stage, row.item)][row.reason] += int(row.count)
    told = []
    for (stage, item), counts in found.items():
        reasons = [
            {"name": words(name), "text": REASONS.get(name, ""), "count": count}
            for name, count in sorted(counts.items(), key=lambda pair: -pair[1])
            if name not in ("in", KEPT) and count
        ]
        missing = counts["in"] - counts[KEPT] - sum(reason["count"] for reason in reasons)
        told.append(
            {
                "name": STAGE_NAMES.get(stage, words(stage)),
                "item": item,
                "count_in": counts["in"],
                "kept": counts[KEPT],
                "reasons": reasons,
                "balanced": missing == 0,
                "missing": abs(missing),
            }
        )
    return told


def stages(summaries: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Jobs, seconds, memory and versions of each stage, in the order in which they are met."""
    groups: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for each in summaries:
        groups[each["stage"]].append(each)
    told = []
    for stage, jobs in groups.items():
        versions = {(name, version) for job in jobs for name, version in job.get("versions", {}).items()}
        devices = sorted({str(job["device"]) for job in jobs if job.get("device")})
        told.append(
            {
                "stage": STAGE_NAMES.get(stage, words(stage)),
                "jobs": len(jobs),
                "time": duration(sum(job.get("seconds", 0) for job in jobs)),
                "memory": f"{max(job.get('peak_mb', 0) for job in jobs):,.0f} MB",
                "device": ", ".join(devices) or "processor",
                "versions": ", ".join(f"{name} {version}" for name, version in sorted(versions)),
            }
        )
    return told


def weights_in_words(settings: dict[str, Any]) -> str:
    """Where the weights of a model are from."""
    if settings.get("kind") == "published":
        return "vectors made elsewhere"
    return settings.get("weights") or "trained in this run"


def _model(model: ModelTables, settings: dict[str, Any]) -> dict[str, Any]:
    scores = model.scores
    truth = scores.get("truth")
    return {
        "name": model.name,
        "kind": model.settings.get("kind", UNKNOWN_HERE),
        "level": model.settings.get("level", "cell"),
        "weights": weights_in_words(model.settings),
        "vocabulary": scores.get("vocabulary") or UNKNOWN_HERE,
        "n_units": thousands(scores.get("n_units")),
        "macro_f1": share(scores.get("macro_f1")),
        "micro_f1": share(scores.get("micro_f1")),
        "baseline": share(scores.get("baseline_macro_f1")),
        "truth": share(truth.get("macro_f1")) if isinstance(truth, dict) else UNKNOWN_HERE,
        "notes": scores.get("notes") or [],
        "clusters": _clusters(model, settings),
    }


def _clusters(model: ModelTables, settings: dict[str, Any]) -> list[dict[str, Any]]:
    terms = best_terms(leading_terms(model.enrichment).dropna(subset=["representative"]), 12, 1.0)
    named = model.enrichment[model.enrichment["representative"].ne(model.enrichment["term"])]
    alike = named.groupby(["cluster", "gene_set_library", "representative"])["term"].agg(list).to_dict()
    told = []
    for row in model.clusters.itertuples():
        own = terms[terms["cluster"] == str(row.cluster)]
        located = isinstance(row.top_location, str)
        told.append(
            {
                "cluster": row.cluster,
                "n_proteins": row.n_proteins,
                "genes": str(row.genes).split(";"),
                "top": f"{row.top_location} {row.top_location_share:.0%}" if located else "no published location",
                "terms": [
                    _term(term, settings["max_q"])
                    | {"alike": alike.get((str(row.cluster), term.gene_set_library, term.term), [])}
                    for term in own.itertuples()
                ],
                "why_no_terms": "No term: none has a p of 0.05, the cluster is too small, or no gene sets are given.",
            }
        )
    return told


def _term(row: Any, max_q: float) -> dict[str, Any]:
    return {
        "term": row.term,
        "term_id": row.term_id if isinstance(row.term_id, str) else "",
        "library": row.gene_set_library,
        "k": row.k, "n": row.n, "K": row.K, "N": row.N,
        "odds": f"{row.odds_ratio:.3g}", "p": f"{row.p:.2g}", "q": f"{row.q:.2g}",
        "genes": str(row.genes).replace(";", ", "),
        "sure": row.q <= max_q,
    }  # fmt: skip
