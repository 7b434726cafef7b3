"""Replicates: preparations that are the unit of every test between samples, never cells."""

import pandas as pd

UNITS = {"well": ("source", "sample", "plate", "well"), "plate": ("source", "sample", "plate"),
         "sample": ("source", "sample")}  # fmt: skip
"""What makes one replicate, by the key `biology.replicate`."""


def replicate_names(fields: pd.DataFrame, unit: str) -> pd.Series:
    """Name of the replicate that each field belongs to.

    A field without a sample is a replicate of its own.

    Args:
        fields: field_id, source, sample, plate, well.
        unit: `well` (each well of each sample), `plate` (all wells of a sample on one plate) or `sample`.

    Raises:
        ValueError: the unit is none of these.
    """
    if unit not in UNITS:
        raise ValueError(f"biology.replicate {unit!r}: allowed are {', '.join(UNITS)}")
    sample = fields["sample"].where(fields["sample"].notna(), "field " + fields["field_id"])
    columns = [sample if name == "sample" else fields[name].fillna("") for name in UNITS[unit]]
    return pd.Series([" · ".join(filter(None, map(str, row))) for row in zip(*columns, strict=True)], fields.index)
