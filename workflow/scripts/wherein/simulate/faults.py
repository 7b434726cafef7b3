"""Bad fields: each kind that quality control must find, at three severities.

What goes wrong before the camera (focus, exposure, cells) is put into what the field is drawn from; a channel from
another field is put in its place afterwards, and a truncated file is cut when it is written.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np

from wherein.simulate.plan import CELL_LINES, DEFOCUS_UM, ORGANISM, seed_of
from wherein.simulate.spec import FieldSpec

DEFOCUS_TIMES = {1: 2.5, 2: 5.0, 3: 10.0}
"""Distance from the plane of focus against the farthest of a good field (`wherein.simulate.plan.DEFOCUS_UM`)."""

DIM_EXPOSURE = {1: 50.0, 2: 25.0, 3: 10.0}
"""Camera units that a density of 1 gives in the protein channel, so that even the brightest structures of the brightest
cells (a density of about 14) stay below a fifth of full scale."""

BRIGHT_EXPOSURE = {1: 6.0, 2: 12.0, 3: 30.0}
"""Times that the protein channel is exposed too long."""

FEW_CELLS = {1: 4, 2: 2, 3: 1}
"""Cells in a field that needs five."""

EMPTY_DEBRIS = {1: 5.0, 2: 2.0, 3: 0.0}
"""Pieces of debris for each 10,000 square micrometres where there are no cells: they make emptiness harder to see."""

KEPT_OF_FILE = {1: 0.9, 2: 0.5, 3: 0.001}
"""Share of a truncated file that is left."""

EXCHANGED = {
    "four_roles": {1: "er", 2: "microtubules", 3: "microtubules"},
    "two_roles": {1: "nucleus", 2: "nucleus", 3: "nucleus"},
    "yeast": {1: "reference", 2: "reference", 3: "reference"},
}
"""Role that comes from another field, by mode and severity."""


def spec_with_fault(spec: FieldSpec) -> FieldSpec:
    """Put the faults that lie before the camera into what a field is drawn from; other fields come back unchanged."""
    severity = spec.severity
    if spec.fault == "out_of_focus":
        farthest = DEFOCUS_UM[ORGANISM[spec.mode]]
        return replace(spec, imaging=replace(spec.imaging, defocus_um=farthest * DEFOCUS_TIMES[severity]))
    if spec.fault == "low_contrast":
        return _exposed(spec, absolute=DIM_EXPOSURE[severity])
    if spec.fault == "saturated":
        return _exposed(spec, times=BRIGHT_EXPOSURE[severity])
    if spec.fault == "too_few_cells":
        return replace(spec, max_cells=FEW_CELLS[severity])
    if spec.fault == "empty":
        return replace(spec, max_cells=0, debris=EMPTY_DEBRIS[severity])
    return spec


def _exposed(spec: FieldSpec, times: float = 1.0, absolute: float | None = None) -> FieldSpec:
    exposure = list(spec.imaging.exposure)
    protein = spec.roles.index("protein")
    exposure[protein] = exposure[protein] * times if absolute is None else absolute
    return replace(spec, imaging=replace(spec.imaging, exposure=tuple(exposure)))


def donor_spec(spec: FieldSpec) -> FieldSpec | None:
    """What the other field is drawn from, whose channel this field has by mistake; None without that fault.

    It is a field of the same protein, imaged in the same way; at severity 3 it shows another cell line.
    """
    if spec.fault != "channel_mismatch":
        return None
    line = spec.cell_line
    lines = CELL_LINES[ORGANISM[spec.mode]]
    if spec.severity == max(EXCHANGED[spec.mode]) and len(lines) > 1:
        line = lines[([one.name for one in lines].index(line.name) + 1) % len(lines)]
    return replace(
        spec,
        seed=seed_of(spec.seed, "donor"),
        cell_line=line,
        confluence=min(spec.confluence, line.confluence),
        fault=None,
        severity=0,
    )


def exchanged_channels(
    channels: dict[str, np.ndarray], donor: dict[str, np.ndarray], spec: FieldSpec
) -> dict[str, np.ndarray]:
    """Put one channel of another field in the place of a field's own.

    Args:
        channels: role -> (H, W) of the field.
        donor: the same of the other field.
        spec: the field; its mode and severity tell which role.

    Returns:
        role -> (H, W), in the order of `channels`.
    """
    role = EXCHANGED[spec.mode][spec.severity]
    return {**channels, role: donor[role]}


def truncate_file(path: Path, severity: int) -> None:
    """Cut a file off, as an interrupted copy does."""
    content = path.read_bytes()
    path.write_bytes(content[: max(1, int(KEPT_OF_FILE[severity] * len(content)))])
