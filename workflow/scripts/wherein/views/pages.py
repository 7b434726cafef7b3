"""What all pages share: their templates, and numbers as people read them."""

import re
from pathlib import Path

import jinja2
import pandas as pd

from wherein.analysis.tested import TESTED
from wherein.views.style import words

TEMPLATES = Path(__file__).with_name("templates")

UNKNOWN_HERE = "–"
"""What pages show for what is not known."""

STAGE_NAMES = {
    "qc": "quality control",
    "download_crops": "files of crops made elsewhere",
    "qc_crops": "quality control of crops made elsewhere",
    "import_crops": "import of crops made elsewhere",
    "import_vectors": "import of vectors made elsewhere",
    "segment": "segmentation",
    "segment_network": "segmentation with a network",
    "segment_beside": "segmentation by another method",
    "evaluate_segmentation": "evaluation of the segmentation",
    "train_segmenter": "training of a segmenter",
    "crop": "crops and ledger",
    "embed": "embeddings",
    "evaluate": "evaluation",
    "break_down": "scores broken down",
    "probe_leaks": "leak and batch probes",
    "attend": "attention maps",
    "compare": "comparison of models",
    "enrich": "enrichment",
    "prerank": "enrichment of rankings",
    "make_gene_sets": "gene sets from annotations",
    "cluster": "groups of proteins",
    "cell_trees": "trees of cells",
    "cell_labels": "labels of single cells",
    "neighbours": "nearest proteins and cells",
    "find_alike": "answers to queries",
    "audit_labels": "label audit",
    "evaluate_audit": "known mistakes in the label audit",
}
"""How pages call stages whose own name says too little."""


def environment() -> jinja2.Environment:
    """Templates with the house's filters; a name that a template uses and nobody gave is an error."""
    found = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    found.filters.update(thousands=thousands, share=share, words=lambda text: words(str(text)), volume=volume)
    found.filters.update(score=score, percent=percent, signed=signed)
    found.globals.update(stated=stated)
    found.filters.update(hours=lambda hours: duration(3600 * hours))
    return found


def stated(table: str) -> str:
    """What p and q of a table come from, in a sentence each: test, universe, correction, columns of n.

    Args:
        table: one of wherein.analysis.tested.TESTED.
    """
    own = TESTED[table]
    numbers = ", ".join(own.n)
    return f"Test: {own.test}. Universe: {own.universe}. Correction: {own.correction}. n: {numbers} (columns)."


def file_name(text: str) -> str:
    """A name of ours, such as a location or protein, as the name of a file; two that differ may become alike."""
    return re.sub(r"[^A-Za-z0-9.-]+", "_", text)


def thousands(value: float | None) -> str:
    """A count with separators; a dash for null."""
    return UNKNOWN_HERE if value is None or pd.isna(value) else f"{int(value):,}"


def share(value: float | None) -> str:
    """A share or score with two decimals; a dash for null."""
    return UNKNOWN_HERE if value is None or pd.isna(value) else f"{value:.2f}"


def score(value: float | None) -> str:
    """A score with three decimals; a dash for null."""
    return UNKNOWN_HERE if value is None or pd.isna(value) else f"{value:.3f}"


def percent(value: float | None) -> str:
    """A share in per cent with one decimal; a dash for null."""
    return UNKNOWN_HERE if value is None or pd.isna(value) else f"{value:.1%}"


def signed(value: float | None) -> str:
    """The same with its sign."""
    return UNKNOWN_HERE if value is None or pd.isna(value) else f"{value:+.1%}"


def duration(seconds: float) -> str:
    """Seconds as people say them: `42 s`, `12 min`, `3.4 h`."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:,.1f} h"


def volume(value: float | None) -> str:
    """Bytes as people say them, in powers of 1,000 as disks are sold: `0`, `340 kB`, `1.4 GB`, `23 TB`."""
    if value is None or pd.isna(value):
        return UNKNOWN_HERE
    if value < 1000:
        return f"{value:.0f} B" if value else "0"
    for unit in ("kB", "MB", "GB", "TB"):
        value /= 1000
        if value < 999.5 or unit == "TB":
            break
    return f"{value:,.0f} {unit}" if value >= 9.95 else f"{value:.1f} {unit}"
