"""Which fields are fit for use: measures of each field, and the first reason that speaks against it.

Focus is `wherein.quality.focus.sharpness`, between 0 and 1. `marker_fit` is the lowest value of
`wherein.quality.fit.pairwise_fit` over the pairs of channels that are compared.
"""

import logging
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq

from wherein.channels import MARKERS, in_order
from wherein.overrides import Override
from wherein.quality.counting import Nuclei, count_marker, count_reference, find_nuclei
from wherein.quality.fit import culprit, pairwise_fit
from wherein.quality.focus import sharpness
from wherein.quality.intensity import contrast, full_scale_of, saturated_share
from wherein.quality.phash import perceptual_hash
from wherein.readers import UnreadableImage, read_field
from wherein.reasons import FAILED, FIELD_REASONS, PASSED, PASSING_REASONS, REJECTED, UNDECODABLE_REASONS, check_reason
from wherein.summary import stage_summary
from wherein.tables import fields_of_shard, qc_schema, write_table

log = logging.getLogger(__name__)

Row = dict[str, Any]


class UnreadableFieldsError(RuntimeError):
    """So many fields of a shard cannot be read that something is wrong with the source, not with the fields."""


def judge_shard(
    shard: str,
    fields: str | Path,
    files: str | Path,
    settings: dict[str, Any],
    overrides: Sequence[Sequence[str]],
    qc: str | Path,
    summary: str | Path,
) -> None:
    """Measure and judge every field version of a shard; write results/qc/{shard}.parquet and the summary.

    Args:
        shard: name of the shard.
        fields: results/catalog/fields.parquet.
        files: results/download/{shard}.parquet.
        settings: the section `qc` of the configuration, for this source.
        overrides: decisions on fields of this shard, in the order of `wherein.overrides.COLUMNS`.
        qc: the table to write.
        summary: the summary to write.

    Raises:
        UnreadableFieldsError: more than `failed_share` of the fields (and `failed_fields` of them) cannot be read.
    """
    with stage_summary(summary, "qc", shard, ("opencv-python-headless", "numpy", "scipy")) as told:
        catalog = fields_of_shard(fields, shard).set_index(["field_id", "version"])
        table = pq.read_table(files).to_pandas()
        roles = in_order(table["role"])
        versions = table.groupby(["field_id", "version"], sort=False)
        rows = []
        for number, ((field_id, version), own) in enumerate(versions, start=1):
            meta = catalog.loc[(field_id, version)]
            row = judge_field(own, meta, settings)
            rows.append({"field_id": field_id, "version": version, "shard": shard, "source": meta["source"], **row})
            log.info("%d of %d: %s@%s %s", number, versions.ngroups, field_id, version, row["reason"])
        told.counts.update(write_verdicts(qc, rows, roles, overrides, shard, settings))


def write_verdicts(
    path: str | Path,
    rows: Sequence[Row],
    roles: Sequence[str],
    overrides: Sequence[Sequence[str]],
    shard: str,
    settings: dict[str, Any],
) -> dict[str, int]:
    """Let curators have their word on judged fields, and write the shard's table.

    Args:
        path: results/qc/{shard}.parquet.
        rows: one a field version.
        roles: that the source has.
        overrides: decisions on fields of this shard, in the order of `wherein.overrides.COLUMNS`.
        shard: name of the shard.
        settings: the section `qc` of the configuration; `failed_share` and `failed_fields` count.

    Returns:
        Number of fields by reason, for the summary.

    Raises:
        UnreadableFieldsError: more than `failed_share` of the fields (and `failed_fields` of them) cannot be read.
    """
    rows = [follow(row, [Override(*word) for word in overrides]) for row in rows]
    stop_if_unreadable(rows, shard, settings)
    write_table(path, pd.DataFrame(rows), qc_schema(roles))
    return count_reasons(rows)


def judge_field(files: pd.DataFrame, meta: Mapping[str, Any], settings: dict[str, Any]) -> Row:
    """Measure and judge one field.

    Args:
        files: rows of results/download/{shard}.parquet of one field version.
        meta: its row of results/catalog/fields.parquet; pixel_size_um, full_scale and control are used.
        settings: the section `qc` of the configuration.

    Returns:
        Columns of results/qc/{shard}.parquet from `status` on.
    """
    try:
        planes = read_field(files)
    except UnreadableImage as error:
        return {"status": FAILED, "reason": check_reason(error.reason, FIELD_REASONS), "detail": str(error)}
    measures, wrong = measure(planes, float(meta["pixel_size_um"]), meta["full_scale"], bool(meta["control"]), settings)
    reason = next((reason for reason in FIELD_REASONS if reason in wrong), PASSED)
    return {
        "status": PASSED if reason == PASSED else REJECTED,
        "reason": reason,
        "detail": wrong.get(reason),
        **measures,
    }


def measure(
    planes: Mapping[str, np.ndarray],
    pixel_size_um: float,
    full_scale: float | None,
    control: bool,
    settings: dict[str, Any],
) -> tuple[Row, dict[str, str]]:
    """Measure one field, and say what speaks against it.

    Args:
        planes: (H, W) by role, all of one size, in the source's type.
        pixel_size_um: micrometres a pixel.
        full_scale: highest intensity that the detector could give; None for the type's.
        control: a field without a specific protein signal; its contrast is not judged.
        settings: the section `qc` of the configuration.

    Returns:
        measures: columns of results/qc/{shard}.parquet.
        wrong: every reason that holds, with a sentence on what was found and what is allowed; `saturated` alone where
            every channel is overexposed, for the other measures then say nothing.
    """
    shown = planes.get("protein", next(iter(planes.values())))
    scale = {role: full_scale_of(plane.dtype, full_scale) for role, plane in planes.items()}
    nuclei = find_nuclei(planes["nucleus"], pixel_size_um, settings["nuclei"]) if "nucleus" in planes else None
    compared = comparable(planes, control, settings["fit"])
    fits = pairwise_fit(
        {role: planes[role] for role in compared if role != "nucleus"},
        nuclei if "nucleus" in compared else None,
        pixel_size_um,
        settings["fit"],
    )
    measures: Row = {
        "height": shown.shape[0],
        "width": shown.shape[1],
        "dtype": str(shown.dtype),
        "n_marker": _count_cells(planes, pixel_size_um, settings),
        "n_nuclei": nuclei.whole if nuclei else None,
        "n_nuclei_all": nuclei.all if nuclei else None,
        "contrast": contrast(planes["protein"], scale["protein"], settings["contrast"])
        if "protein" in planes
        else None,
        **{f"focus_{role}": sharpness(plane, pixel_size_um, settings["focus"]) for role, plane in planes.items()},
        **{f"saturated_{role}": saturated_share(plane, scale[role]) for role, plane in planes.items()},
        "marker_fit": min(fits.values(), default=None),
        "phash": perceptual_hash(shown),
    }
    saturated = _saturation(measures, planes, settings["saturation"])
    least = min(measures[f"saturated_{role}"] for role in planes)
    if saturated and least > settings["saturation"]["overexposed_share"]:
        return measures, saturated
    wrong = {
        **_focus(measures, planes, settings["focus"]),
        **({} if control else _contrast(measures, settings["contrast"])),
        **_cells(measures, settings),
        **saturated,
        **_fit(fits, settings["fit"]),
        **_swapped(planes, nuclei, pixel_size_um, settings),
    }
    return measures, wrong


def comparable(roles: Iterable[str], control: bool, options: dict[str, Any]) -> list[str]:
    """Roles whose images are compared with each other.

    Args:
        roles: of the source.
        control: a field without a specific protein signal, whose protein channel shows no cells.
        options: `qc.fit` of the configuration.

    Returns:
        The structural roles, and the protein as `options` has it; none if there is nothing to compare with.
    """
    structural = [role for role in roles if role in options["roles"]]
    asked = options["protein"] == "always" or (options["protein"] == "alone" and len(structural) < 2)
    found = structural + [role for role in roles if role == "protein" and asked and not control]
    return found if len(found) > 1 else []


def follow(row: Row, overrides: Sequence[Override]) -> Row:
    """Apply a curator's word to a judged field.

    Args:
        row: a row of results/qc/{shard}.parquet.
        overrides: decisions on fields.

    Returns:
        The row, with `override` and the status that follows. A field that cannot be read stays failed.
    """
    word = next((word for word in overrides if word.id == row["field_id"]), None)
    if word is None or row["status"] == FAILED:
        return row
    said = f"{word.who}: {word.why}"
    if word.action == "reject":
        return {**row, "status": REJECTED, "reason": "overridden", "detail": said, "override": said}
    return {**row, "status": PASSED, "reason": PASSED, "detail": None, "override": said}


def stop_if_unreadable(rows: Sequence[Row], shard: str, settings: dict[str, Any]) -> None:
    """Stop where so many fields cannot be read that the source is at fault.

    Args:
        rows: the shard's judged fields.
        shard: name of the shard.
        settings: the section `qc` of the configuration.

    Raises:
        UnreadableFieldsError: with the fields, the likely cause and what to do.
    """
    bad = [row for row in rows if row["status"] == FAILED and row["reason"] in UNDECODABLE_REASONS]
    current = sum(row["reason"] != "retired" for row in rows)
    if len(bad) < settings["failed_fields"] or len(bad) <= settings["failed_share"] * current:
        return
    reasons = pd.Series([row["reason"] for row in bad]).value_counts()
    named = "; ".join(f"{row['field_id']} ({row['detail']})" for row in bad[:5])
    more = f"; and {len(bad) - 5} more" if len(bad) > 5 else ""
    raise UnreadableFieldsError(
        f"shard {shard}: {len(bad)} of {current} fields cannot be read, at most {settings['failed_share']:.0%} may "
        f"(qc.failed_share, from qc.failed_fields = {settings['failed_fields']} on). Most often {reasons.index[0]}: "
        f"{FIELD_REASONS[reasons.index[0]]}. Fields: {named}{more}. {REMEDIES[reasons.index[0]]}, then run again; "
        "or raise qc.failed_share for this source if these fields are to be left out."
    )


REMEDIES = {
    "missing_file": "Check that the disk is mounted and that the paths in the source's table are right",
    "no_address": "Fill in the paths of these fields in the source's table",
    "missing_channel": "Check the channel named for this role under sources in the configuration",
    "corrupt": "The copy was probably cut short: copy or download these files again",
    "size_mismatch": "Check that the pattern of each role finds images of the same acquisition",
    "unsupported_format": "Convert these files as the message on each says",
    "not_found": "Check the release and the addresses in the source: the server does not know these files",
    "refused": "Check whether the server wants a login or another address",
    "not_an_image": "Open one of the addresses in a browser: the server sends a page in place of the image",
    "offline": "Set download.offline to false to fetch them",
    **dict.fromkeys(PASSING_REASONS, "Run the download again when network and disk are well (--forcerun download)"),
}
"""What to do about many fields of one of `wherein.reasons.UNDECODABLE_REASONS`."""


def count_reasons(rows: Sequence[Row]) -> dict[str, int]:
    """Counts for the summary: `in`, `kept`, then every reason that occurs."""
    reasons = [row["reason"] for row in rows]
    found = {reason: reasons.count(reason) for reason in FIELD_REASONS if reason in reasons}
    return {"in": len(rows), "kept": reasons.count(PASSED), **found}


def _count_cells(planes: Mapping[str, np.ndarray], pixel_size_um: float, settings: dict[str, Any]) -> int | None:
    """Cells on the first marker that the source has; None without any."""
    marker = next((role for role in MARKERS if role in planes), None)
    if marker is None:
        return None
    if marker == "reference":
        return count_reference(planes[marker], pixel_size_um, settings["reference"])
    return count_marker(planes[marker], pixel_size_um, settings["marker"])


def _focus(measures: Row, planes: Mapping[str, np.ndarray], options: dict[str, Any]) -> dict[str, str]:
    structural = [role for role in planes if role != "protein"] or list(planes)
    found = {role: measures[f"focus_{role}"] for role in structural if np.isfinite(measures[f"focus_{role}"])}
    if not found or max(found.values()) >= options["minimum"]:
        return {}
    best = max(found, key=lambda role: found[role])
    return {
        "out_of_focus": f"the sharpest structural channel, {best}, has sharpness {found[best]:.2f}; "
        f"at least {options['minimum']:g} is asked for (qc.focus.minimum)"
    }


def _contrast(measures: Row, options: dict[str, Any]) -> dict[str, str]:
    if measures["contrast"] is None or measures["contrast"] >= options["fraction"]:
        return {}
    return {
        "low_contrast": f"the protein channel uses {measures['contrast']:.1%} of the full scale; "
        f"at least {options['fraction']:.0%} is asked for (qc.contrast.fraction)"
    }


def _cells(measures: Row, settings: dict[str, Any]) -> dict[str, str]:
    on_nuclei = measures["n_nuclei"] is not None and (settings["count"] == "nuclei" or measures["n_marker"] is None)
    whole = measures["n_nuclei"] if on_nuclei else measures["n_marker"]
    what = "nuclei" if on_nuclei else "cells on the marker channel"
    if whole is None or whole >= settings["min_cells"]:
        return {}
    if measures["n_nuclei_all"] == 0 or (measures["n_nuclei_all"] is None and whole == 0):
        return {"empty": f"no {what} found; at least {settings['min_cells']} are asked for (qc.min_cells)"}
    return {
        "too_few_cells": f"{whole} {what} that do not touch the border; "
        f"at least {settings['min_cells']} are asked for (qc.min_cells)"
    }


def _saturation(measures: Row, planes: Mapping[str, np.ndarray], options: dict[str, Any]) -> dict[str, str]:
    key = {role: "max_share" if role == "protein" else "max_share_markers" for role in planes}
    over = {role: measures[f"saturated_{role}"] / max(options[key[role]], 1e-9) for role in planes}
    worst = max(over, key=lambda role: over[role])
    if over[worst] <= 1:
        return {}
    return {
        "saturated": f"{measures[f'saturated_{worst}']:.1%} of the pixels of {worst} are at the detector's maximum; "
        f"at most {options[key[worst]]:.0%} may be (qc.saturation.{key[worst]})"
    }


def _fit(fits: Mapping[tuple[str, str], float], options: dict[str, Any]) -> dict[str, str]:
    if not fits or min(fits.values()) >= options["minimum"]:
        return {}
    one, two = min(fits, key=lambda pair: fits[pair])
    wrong = culprit(fits, options["minimum"])
    which = f"{wrong} fits none of the others" if wrong else f"{one} and {two} do not fit"
    return {
        "channel_mismatch": f"{which}: agreement of {one} and {two} over the best of any shift is "
        f"{fits[one, two]:.2f}; at least {options['minimum']:g} is asked for (qc.fit.minimum)"
    }


def _swapped(
    planes: Mapping[str, np.ndarray], nuclei: Nuclei | None, pixel_size_um: float, settings: dict[str, Any]
) -> dict[str, str]:
    limits = settings["swapped"]
    if nuclei is None or nuclei.compactness >= limits["minimum"]:
        return {}
    found = {role: find_nuclei(plane, pixel_size_um, settings["nuclei"]) for role, plane in planes.items()}
    others = {
        role: seen.compactness
        for role, seen in found.items()
        if role != "nucleus" and seen.all >= settings["min_cells"] and _area(seen) >= limits["min_um2"]
    }
    best = max(others, key=lambda role: others[role], default=None)
    if best is None or others[best] < nuclei.compactness + limits["margin"]:
        return {}
    return {
        "swapped_roles": f"{nuclei.compactness:.0%} of what the nucleus channel shows looks like nuclei, but "
        f"{others[best]:.0%} of what {best} shows; at least {limits['minimum']:.0%} is asked for, or less than "
        f"{limits['margin']:.0%} behind (qc.swapped)"
    }


def _area(nuclei: Nuclei) -> float:
    """Square micrometres that nuclei cover."""
    return float(nuclei.mask.sum()) * nuclei.step_um**2
