"""Which fields are shown, and their pixels: one unreadable image never stops a figure."""

from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd

from wherein.analysis.aggregate import protein_names
from wherein.channels import ROLES, uri_column
from wherein.exchange.listing import listed_fields
from wherein.exchange.mosaic import read_mosaic
from wherein.readers import UnreadableImage, read_field
from wherein.tables import current_fields, qc_schema, read_tables
from wherein.views.composites import Limits, contrast, median_limits


class FieldImages:
    """Channels of fields, read when asked for.

    Args:
        files: paths of results/download/{shard}.parquet.
        listed: results/catalog/crops.parquet, for sheets of crops in place of fields of which there are only crops;
            None where there are none.
    """

    def __init__(self, files: Iterable[str], listed: str | None = None) -> None:
        self._crops = listed_fields(listed) if listed else {}
        table = read_tables(files)
        self._files = dict(list(table.groupby(["field_id", "version"], sort=False))) if len(table) else {}

    def read(self, field_id: str, version: str) -> dict[str, np.ndarray]:
        """Read all channels of a field.

        Returns:
            role -> (H, W) in the source's data type, in the order of storage.

        Raises:
            UnreadableImage: the field cannot be read; its text says why.
        """
        entries = self._crops.get((field_id, version))
        if entries is not None:
            return read_mosaic(entries)
        files = self._files.get((field_id, version))
        if files is None:
            raise UnreadableImage("missing_file", f"{field_id}@{version} is in no table of files")
        if files["role"].isna().all():
            raise UnreadableImage("missing_file", f"{field_id}@{version} is a vector made elsewhere, without pixels")
        return read_field(files)


def fields_with_verdict(fields: str, qc: Sequence[str]) -> pd.DataFrame:
    """Every field version that quality control judged, with what the catalog knows of it.

    Args:
        fields: results/catalog/fields.parquet.
        qc: results/qc/{shard}.parquet of all shards.

    Returns:
        The columns of qc, then genes, ensembl_ids, name (of the protein, null for none), cell_line, reagent,
        condition, control, labels, pixel_size_um of current field versions, and pixels (bool: whether it has any,
        rather than a vector made elsewhere alone); sorted as in qc.
    """
    verdicts = read_tables(qc) if len(qc) else pd.DataFrame(columns=qc_schema([]).names)
    known = current_fields(fields)
    known["name"] = protein_names(known)
    known["pixels"] = known[[uri_column(role) for role in ROLES]].notna().any(axis=1)
    columns = ["field_id", "version", "genes", "ensembl_ids", "name", "cell_line", "reagent", "condition", "control",
               "labels", "reliability", "pixel_size_um", "release", "pixels"]  # fmt: skip
    if not len(verdicts):
        return verdicts.reindex(columns=[*verdicts.columns, *columns[2:]])
    return verdicts.merge(known[columns], on=["field_id", "version"], how="inner")


def sharpest(judged: pd.DataFrame) -> pd.Series:
    """Sharpness of each field's sharpest structural channel, which quality control judges; else of the protein."""
    structural = judged.reindex(columns=[f"focus_{role}" for role in ROLES if role != "protein"])
    protein = judged.get("focus_protein", np.nan)
    return structural.astype(float).max(axis=1).fillna(protein)


def most_saturated(judged: pd.DataFrame) -> pd.Series:
    """Share of pixels at the highest intensity in each field's worst channel."""
    return judged.reindex(columns=[f"saturated_{role}" for role in ROLES]).astype(float).max(axis=1)


def in_turns(frame: pd.DataFrame, by: Sequence[str], most: int) -> pd.DataFrame:
    """Pick rows so that the groups take turns: the first of each, then the second of each.

    Args:
        frame: rows in order of preference.
        by: columns that make the groups; null is a group too.
        most: number of rows to pick.

    Returns:
        At most `most` rows, in the order in which they were picked.
    """
    if not len(frame):
        return frame
    turn = frame.groupby(list(by), dropna=False, sort=False).cumcount()
    return frame.iloc[np.argsort(turn.to_numpy(), kind="stable")[:most]]


def shared_contrast(images: Sequence[dict[str, np.ndarray]], low: float, high: float) -> Limits:
    """One contrast for several fields: the median of their own limits, so that dim fields look dim.

    Args:
        images: channels of each field.
        low: percentile shown as black.
        high: percentile shown at full brightness.

    Returns:
        role -> (black, full); empty without images.
    """
    return median_limits([contrast(channels, low, high) for channels in images])
