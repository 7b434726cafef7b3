"""Why a field or a cell is not in the result: each reason is named here, once."""

KEPT = "kept"
PASSED = "passed"
REJECTED = "rejected"
FAILED = "failed"

DOWNLOAD_REASONS = {
    "missing_file": "the file of a channel is not where the table says",
    "no_address": "the table names no file for this role in this field",
    "retired": "a newer version of this field, or its removal, retired it in the catalog",
    "not_found": "the server says that there is no such file (400, 404, 410)",
    "refused": "the server does not give the file to us (401, 403 and the like)",
    "unreachable": "the server could not be reached, or answered with errors of its own, at every try",
    "timed_out": "the file did not come in time",
    "truncated_download": "the connection ended before the file did, at every try",
    "disk_full": "there is no room for the file on the cache's disk",
    "offline": "the file is not in the cache, and the configuration is offline",
    "not_an_image": "the server sent something else in place of an image",
    "corrupt": "a channel's file cannot be decoded",
    "size_mismatch": "the channels of the field differ in size",
}
"""Reasons of the stage download: they travel on into qc."""

PASSING_REASONS = ("unreachable", "timed_out", "truncated_download", "disk_full")
"""Reasons of the stage download that may be gone at the next try, without anybody changing the source."""

FIELD_REASONS = {
    **DOWNLOAD_REASONS,
    "missing_channel": "a channel that the source has is not there for this field",
    "unsupported_format": "the file's format or axes cannot be read as they are",
    "out_of_focus": "structures are blurred beyond what the cells' own size allows",
    "swapped_roles": "a channel looks like another role's: check the configuration of roles",
    "empty": "no cells in the field",
    "too_few_cells": "fewer whole cells than the source's minimum",
    "low_contrast": "the protein channel uses too little of the source's intensity range",
    "saturated": "too many pixels at the detector's maximum",
    "channel_mismatch": "a channel does not fit the others: it comes from another field",
    "unknown_identifier": "the row of a table of vectors has no name, or one that no gene, or several, have",
    "no_vector": "the row of a table of vectors has a name, but no vector",
    "not_finite": "a vector made elsewhere has values that are missing or no finite numbers",
    "duplicate_vector": "the same row is in the table of vectors twice, or two rows claim one field_id",
    "overridden": "a curator's word in config/overrides.tsv",
}
"""Reasons of the stage qc, in the order in which they are tried: one that makes later measures moot goes first."""

UNDECODABLE_REASONS = (
    *(reason for reason in DOWNLOAD_REASONS if reason != "retired"),
    "missing_channel",
    "unsupported_format",
)
"""Reasons that count against the share of failed fields that stops a shard."""

SEGMENT_REASONS = {
    FAILED: "the segmentation stopped with an error on this field: the log says which",
    "no_labels": "the label image made elsewhere is missing, cannot be read, or does not fit the field",
    "no_objects": "no nucleus and no cell was found",
}
"""Reasons of the stage segment."""

CELL_REASONS = {
    "unreadable": "the file of a crop made elsewhere is missing, or is not what the table and the configuration say",
    "not_finite": "a crop or a vector made elsewhere has values that are no finite numbers",
    "no_vector": "the row of a table of vectors has a name, but no vector",
    "duplicate_vector": "the same cell is in the table of vectors twice",
    "empty_mask": "the mask that came with a crop shows no cell",
    "border": "the cell touches the border of the field",
    "beyond_field": "the crop's window reaches beyond the field",
    "too_small": "cell or nucleus smaller than the source's minimum",
    "too_large": "cell larger than the source's maximum",
    "no_nucleus": "a cell without a nucleus",
    "no_cell": "a nucleus without a cell around it",
    "multinucleated": "more than one nucleus in a cell",
    "exceeds_window": "the cell does not fit into the crop's window",
    "small_sample": "too few cells in the whole sample",
    "overridden": "a curator's word in config/overrides.tsv",
}
"""Reasons of the stage crop, in the order in which they are tried."""

EXPORT_REASONS = {
    "retired": "the catalog has replaced or removed the field since the cell was cut out",
    "small_sample": CELL_REASONS["small_sample"],
    "gene": "none of the genes asked for",
    "cell_line": "none of the cell lines asked for",
    "gene_fold": "none of the folds of genes asked for",
    "field_fold": "none of the folds of fields asked for",
    "contrast": "the protein channel of the field uses less of the intensity range than asked for",
    "focus": "the protein channel of the field is less sharp than asked for",
    "saturated": "more of the field's protein channel is saturated than asked for",
    "padded": "the crop's window reaches beyond the field",
    "exceeds_window": "a part of the cell lies outside the crop's window",
    "no_protein": "the layout goes by proteins, and this cell shows none that is known",
}
"""Why a kept cell is not exported, in the order in which they are tried."""


def check_reason(reason: str, allowed: dict[str, str]) -> str:
    """Return `reason` if it is one of `allowed`, else raise ValueError naming both."""
    if reason not in allowed:
        raise ValueError(f"unknown reason {reason!r}: allowed are {', '.join(allowed)}")
    return reason
