"""Fields with published and predicted locations, for what works on scores."""

import numpy as np
import pandas as pd
from wherein.labels import vocabulary
from wherein.models.scored import Scored

WORDS = vocabulary("hpa19")
K = len(WORDS.classes)
LINES = ("U2OS", "MCF7", None)


def scored_fields(n=120, genes=30, seed=0, own=False):
    """Scored fields of 5 classes, more often right than not."""
    rng = np.random.default_rng(seed)
    gene = rng.integers(0, genes, n)
    truth = np.zeros((n, K), bool)
    truth[np.arange(n), gene % 5] = True
    truth[np.flatnonzero(gene % 3 == 0), (gene[gene % 3 == 0] + 2) % 5] = True
    probabilities = np.clip(0.45 * truth + rng.random((n, K)) * 0.6, 0, 1).astype(np.float32)
    units = pd.DataFrame(
        {
            "unit_id": [f"f{k}@v" for k in range(n)],
            "field_id": [f"f{k}" for k in range(n)],
            "version": "v",
            "gene_group": [f"G{k}" for k in gene],
            "control": False,
            "fold": np.nan if own else (gene % 4).astype(float),
        }
    )
    catalog = units[["field_id", "version"]].assign(
        sample=[f"S{k}" for k in gene],
        plate="P1",
        reagent=[f"R{k}" for k in gene],
        cell_line=[LINES[k % 3] for k in range(n)],
    )
    scored = Scored(units, truth, np.ones(n, bool), probabilities, np.full((n, K), 0.5))
    return scored, catalog
