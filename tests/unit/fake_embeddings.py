"""Small tables of a run as the analysis reads them, with vectors that a test chooses."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from wherein.tables import FIELDS, cells_schema, qc_schema, write_predictions, write_table, write_vectors

ROLES = ("nucleus", "protein")


@dataclass
class Run:
    """Fields and cells of one shard, added one field at a time, then written."""

    root: Path
    level: str = "cell"
    fields: list[dict[str, Any]] = field(default_factory=list)
    cells: list[dict[str, Any]] = field(default_factory=list)
    vectors: list[np.ndarray] = field(default_factory=list)
    locations: list[str] = field(default_factory=list)
    releases: dict[str, str] = field(default_factory=lambda: {"a": "1"})

    def add(self, gene: str | list[str] | None, vectors: np.ndarray, **about: Any) -> str:
        """Add a field whose cells (or which itself, at level field) have these vectors; return its name."""
        name = about.pop("field_id", f"field{len(self.fields):04d}")
        intensity = about.pop("intensity", np.full(len(vectors), 100.0))
        locations = about.pop("locations", ["Cytosol"] * len(vectors))
        genes = [] if gene is None else [gene] if isinstance(gene, str) else gene
        row = {"field_id": name, "version": "v1", "shard": "a-0001", "source": "a", "release": "1", "sample": str(gene)}
        row |= {"genes": genes, "ensembl_ids": [], "cell_line": "U2OS", "control": False, "labels": ["Cytosol"]}
        self.fields.append(row | about)
        version = (row | about)["version"]
        for label, mean in enumerate(intensity, start=1):
            cell = {"cell_id": f"{name}@{version}:{label}", "field_id": name, "version": version, "label": label}
            self.cells.append(cell | {"status": "kept", "reason": "kept", "mean_protein": mean})
        self.vectors.append(np.atleast_2d(vectors))
        self.locations += locations
        return name

    def units(self) -> pd.DataFrame:
        if self.level == "field":
            rows = [(f"{row['field_id']}@{row['version']}", row["field_id"], row["version"]) for row in self.fields]
            return pd.DataFrame(rows, columns=["unit_id", "field_id", "version"])
        ledger = pd.DataFrame(self.cells, columns=["cell_id", "field_id", "version"])
        return ledger.rename(columns={"cell_id": "unit_id"})

    def write(self, names: list[str] | None = None, width: int = 4) -> dict[str, Any]:
        """Write everything; return the paths that the analysis takes."""
        root = self.root
        said = {"releases": self.releases}
        write_table(root / "fields.parquet", pd.DataFrame(self.fields, columns=FIELDS.names), FIELDS, said)
        qc = pd.DataFrame(
            [{"field_id": f["field_id"], "version": f["version"], "status": "passed"} for f in self.fields]
        )
        write_table(root / "qc.parquet", qc, qc_schema(ROLES))
        write_table(root / "cells.parquet", pd.DataFrame(self.cells), cells_schema(ROLES))
        vectors = np.concatenate(self.vectors) if self.vectors else np.zeros((0, width))
        said = {"model": "m", "level": self.level, "dimensions": names}
        write_vectors(root / "embeddings.parquet", self.units(), vectors, said)
        classes = sorted(set(self.locations)) or ["Cytosol"]
        chosen = np.array([[name == own for name in classes] for own in self.locations], np.float32)
        chosen = chosen[: len(self.units())].reshape(-1, len(classes))
        write_predictions(
            root / "predictions.parquet",
            self.units(),
            pd.DataFrame(chosen, columns=classes),
            {"vocabulary": "hpa19", "classes": classes},
        )
        return {
            "fields": root / "fields.parquet",
            "qc": [root / "qc.parquet"],
            "cells": [root / "cells.parquet"],
            "embeddings": [root / "embeddings.parquet"],
            "predictions": root / "predictions.parquet",
        }


def settings(section: str, **over: Any) -> dict[str, Any]:
    """A section of the configuration with the schema's defaults, and these words over them."""
    from wherein.settings import check_config

    config: dict[str, Any] = {"sources": {"demo": {"kind": "simulated"}}, "models": {}, section: over}
    check_config(config)
    return config[section]
