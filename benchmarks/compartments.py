"""Whether clusters of proteins recover their compartments, and whether their terms name them.

Takes the run of benchmarks/localization.py (simulated fields of real human proteins, networks trained on some of the
genes) through the functions of the rules `atlas`, `cluster` and `enrich` with the settings that a run has by default,
once with all proteins and once with those alone that no network has seen. For each model: the adjusted Rand index of
every grouping against published single locations, with its interval over bootstraps of the proteins; and of the
clusters of the tree with most of their proteins in one compartment, how many have the Gene Ontology's term of that
compartment among the first three after trimming. Prints tables and, last, one JSON line.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import pandas as pd

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "workflow" / "scripts"))

from wherein.analysis.aggregate import protein_name  # noqa: E402
from wherein.analysis.atlas import MULTI, build_atlas  # noqa: E402
from wherein.analysis.enrichment import enrich_clusters  # noqa: E402
from wherein.analysis.groupings import group_proteins  # noqa: E402
from wherein.settings import check_config, enrichment_settings, terms_settings  # noqa: E402
from wherein.tables import FIELDS, read_metadata, read_tables, write_table  # noqa: E402

TERMS = {
    "Nucleoplasm": {"GO:0005654", "GO:0005634", "GO:0000785"},  # and nucleus, chromatin
    "Nuclear membrane": {"GO:0031965", "GO:0005635", "GO:0005637", "GO:0005640"},  # and envelope, inner, outer membrane
    "Nucleoli": {"GO:0005730"},
    "Nucleoli fibrillar center": {"GO:0001650"},
    "Nuclear speckles": {"GO:0016607"},
    "Nuclear bodies": {"GO:0016604", "GO:0016605", "GO:0015030"},  # and PML, Cajal bodies
    "Endoplasmic reticulum": {"GO:0005783", "GO:0005789", "GO:0098827", "GO:0042175"},  # its membrane and parts
    "Golgi apparatus": {"GO:0005794", "GO:0000139", "GO:0098791"},  # its membrane, its parts
    "Intermediate filaments": {"GO:0045111", "GO:0005882"},  # cytoskeleton of these, and the filaments
    "Actin filaments": {"GO:0015629", "GO:0005884", "GO:0001725", "GO:0005925"},  # filament, stress fibre, adhesions
    "Microtubules": {"GO:0015630", "GO:0005874", "GO:0005881"},  # cytoskeleton of these, and microtubules
    "Mitotic spindle": {"GO:0072686", "GO:0005819"},
    "Centrosome": {"GO:0005813", "GO:0005815", "GO:0005814"},  # organizing center, centriole
    "Plasma membrane": {
        *("GO:0005886", "GO:0031226", "GO:0005887", "GO:0098590"),  # intrinsic, integral components, regions
        *("GO:0016323", "GO:0016324", "GO:0030054", "GO:0070161", "GO:0005911"),  # sides; cell junctions, which it has
    },
    "Mitochondria": {"GO:0005739", "GO:0005740", "GO:0005759"},  # envelope, matrix
    "Aggresome": {"GO:0016235"},
    "Cytosol": {"GO:0005829", "GO:0022626"},  # and its ribosomes
    "Vesicles and punctate cytosolic patterns": {
        *("GO:0031410", "GO:0031982", "GO:0097708", "GO:0005777", "GO:0042579"),  # vesicles, peroxisomes
        *("GO:0005768", "GO:0010008", "GO:0005764", "GO:0000323", "GO:0005811"),  # endosomes, lysosomes, lipid droplets
    },
}
"""Cellular components that name each class of `hpa19`: its own identifier first, then others of the same place."""

LEADING = 3
"""Terms looked at, after trimming."""

MAJORITY = 0.5
"""Share of a cluster's proteins from more than which a compartment is the cluster's."""


def configured(gene_sets: Path | None) -> dict[str, Any]:
    """The configuration of a run with defaults alone, and the gene sets."""
    sets = {} if gene_sets is None else {"go_cc": str(gene_sets.resolve())}
    config: dict[str, Any] = {
        "sources": {"sim": {"kind": "simulated"}}, "models": {}, "biology": {"gene_sets": sets}
    }  # fmt: skip
    check_config(config)
    return config


def catalog_of(folder: Path, out: Path, model: str, unseen: bool) -> Path:
    """The catalog, or that of the test genes of a network's training table alone."""
    whole = folder / "fields.parquet"
    if not unseen:
        return whole
    table = read_tables([folder / "training" / f"{model}.parquet"], ["field_id", "part"])
    held = set(table.loc[table["part"] == "test", "field_id"])
    fields = pd.read_parquet(whole)
    named = [protein_name(genes, ids) for genes, ids in zip(fields["genes"], fields["ensembl_ids"], strict=True)]
    seen = set(pd.Series(named)[~fields["field_id"].isin(held)].dropna())
    path = out / "fields.parquet"
    write_table(path, fields[[name is not None and name not in seen for name in named]], FIELDS, read_metadata(whole))
    return path


def grouped(folder: Path, out: Path, model: str, fields: Path, config: dict[str, Any]) -> pd.DataFrame:
    """Atlas and groups of a model on the fields of a catalog; gives agreement.tsv."""
    shards = sorted(path.stem for path in (folder / "qc").glob("*.parquet"))
    build_atlas(
        model=model, level="field", fields=fields, qc=[folder / "qc" / f"{shard}.parquet" for shard in shards],
        cells=[], embeddings=[folder / "embeddings" / model / f"{shard}.parquet" for shard in shards],
        settings=config["atlas"], proteins=out / "proteins.h5ad", units=out / "units.parquet",
        clusters=out / "clusters.tsv", unit_map=out / "map.npz", history=out / "history.parquet",
        moved=out / "moved.tsv", summary=out / "atlas.json", samples=folder / "samples.parquet",
    )  # fmt: skip
    group_proteins(
        model=model, proteins=out / "proteins.h5ad", settings=config["atlas"], biology=terms_settings(config),
        groups=out / "groups.tsv", members=out / "members.tsv", agreements=out / "agreement.tsv",
        organelle=out / "organelles.tsv", spectrum=out / "spectrum.h5ad", terms=out / "enrichment_groups.tsv",
        summary=out / "cluster.json",
    )  # fmt: skip
    return pd.read_csv(out / "agreement.tsv", sep="\t")


def named_clusters(out: Path, model: str, config: dict[str, Any]) -> pd.DataFrame:
    """Enrichment of the clusters of the tree; one row a cluster with most of its proteins in one compartment.

    `right` tells whether a term of the compartment leads one of the first three groups of terms, `alike` whether it is
    in one of these groups at all, `exists` whether the gene sets hold a tested term of the compartment. `untrimmed` is
    the place of the first such term among all by p.
    """
    enrich_clusters(
        model=model, proteins=out / "proteins.h5ad", settings=enrichment_settings(config),
        enrichment=out / "enrichment.tsv", libraries=out / "libraries.tsv", identifiers=out / "identifiers.tsv",
        summary=out / "enrich.json",
    )  # fmt: skip
    found = pd.read_csv(out / "enrichment.tsv", sep="\t")
    clusters = pd.read_csv(out / "clusters.tsv", sep="\t")
    led = clusters[(clusters["top_location_share"] > MAJORITY) & (clusters["top_location"] != MULTI)]
    rows = []
    for row in led.itertuples():
        own = found[found["cluster"] == row.cluster].reset_index(drop=True)
        first = own[own["term"] == own["representative"]].head(LEADING)
        within = own[own["representative"].isin(first["term"])]
        right = TERMS[row.top_location]
        places = own.index[own["term_id"].isin(right)]
        rows.append(
            {
                "cluster": row.cluster, "n": row.n_proteins, "compartment": row.top_location,
                "share": row.top_location_share, "exists": found["term_id"].isin(right).any(),
                "right": first["term_id"].isin(right).any(), "alike": within["term_id"].isin(right).any(),
                "untrimmed": int(places[0]) + 1 if len(places) else None,
                "first": "; ".join(f"{term} (q {q:.1g})" for term, q in zip(first["term"], first["q"], strict=True)),
            }
        )  # fmt: skip
    return pd.DataFrame(rows)


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, required=True, help="of a run of benchmarks/localization.py; only read")
    parser.add_argument("--out", type=Path, required=True, help="folder to write to")
    parser.add_argument(
        "--gene-sets", type=Path, help="GMT of cellular components, with GO identifiers; none if absent"
    )
    parser.add_argument("--models", nargs="*", default=["densenet121", "gapnet-pl", "classic"])
    parser.add_argument("--table", default="densenet121", help="network whose training table tells the unseen genes")
    options = parser.parse_args()
    config = configured(options.gene_sets)
    said: dict[str, Any] = {"benchmark": "compartments"}
    for model in options.models:
        for unseen in (False, True):
            part = "unseen" if unseen else "all"
            out = options.out / model / part
            out.mkdir(parents=True, exist_ok=True)
            agreed = grouped(options.folder, out, model, catalog_of(options.folder, out, options.table, unseen), config)
            columns = ["grouping", "n_proteins", "n_clusters", "n_locations", "ari", "ari_low", "ari_high", "ami"]
            print(f"\n{model}, {part}")
            print(agreed[columns].to_string(index=False, float_format=lambda value: f"{value:.3f}"), flush=True)
            own = agreed.set_index("grouping").loc["tree of single locations"]
            said[f"ari_{model}_{part}"] = [round(own[name], 3) for name in ("ari", "ari_low", "ari_high")]
            if options.gene_sets is None or unseen:
                continue
            named = named_clusters(out, model, config)
            print(named.to_string(index=False, float_format=lambda value: f"{value:.2f}"), flush=True)
            asked = named[named["exists"]]
            said[f"terms_{model}"] = {"clusters": len(named), "with_term": len(asked)}
            said[f"terms_{model}"] |= {name: int(asked[name].sum()) for name in ("right", "alike")}
    print(json.dumps(said))


if __name__ == "__main__":
    main()
