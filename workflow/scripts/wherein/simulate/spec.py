"""What one simulated field is drawn from. Everything random follows from the seeds named here.

Densities that drawing code hands to `wherein.simulate.optics.image_channels` have these units: a nucleus of usual
DNA content has 1 in the channel `nucleus`; a usual cell has a mean of 1 over its own area in `microtubules`, `er`,
`reference` and `protein`. The protein's mean is 1 wherever it sits (what is not in its structure is diffuse), so that
total intensity tells no class; after blurring, its brightest structure in a usual cell stays below about 8.
"""

from dataclasses import dataclass, field

ROLES_OF_MODE = {
    "four_roles": ("nucleus", "microtubules", "er", "protein"),
    "two_roles": ("nucleus", "protein"),
    "yeast": ("protein", "reference"),
}
"""Roles that a field of each mode has, in the order of storage."""

FULL_SCALE = 4095
"""Highest intensity of the simulated camera: 12 bits, stored in uint16."""

HELD_OUT = 1000
"""Sources with a seed from here on are held-out checks; those below it are for tuning."""


def tuning_seed(number: int) -> int:
    """Seed of the `number`-th source that thresholds and drawings may be tuned on.

    Raises:
        ValueError: the number is not in 0 to 999.
    """
    if not 0 <= number < HELD_OUT:
        raise ValueError(f"tuning source {number}: there are {HELD_OUT}, counted from 0")
    return number


def held_out_seed(number: int) -> int:
    """Seed of the `number`-th source that nothing may be tuned on.

    Raises:
        ValueError: the number is negative.
    """
    if number < 0:
        raise ValueError(f"held-out source {number}: numbers are counted from 0")
    return HELD_OUT + number


@dataclass(frozen=True)
class CellLine:
    """How the cells of one line look; lengths in micrometres, `_cv` is the coefficient of variation from cell to cell.

    Attributes:
        name: the line's name.
        nucleus_um: mean diameter of a nucleus (of the circle of the same area).
        nucleus_cv: its variation.
        nucleus_elongation: mean ratio of a nucleus' axes, 1 for a circle.
        cell_um: mean diameter of a cell (of the circle of the same area), protrusions left out.
        cell_cv: its variation.
        cell_elongation: mean ratio of a cell's axes.
        irregularity: deviation of the outline from an ellipse, as a share of the radius.
        protrusions: mean number of protrusions of a cell.
        protrusion_um: mean length of a protrusion.
        clustering: 0 for cells that spread evenly, 1 for tight colonies.
        overlap: share of a cell's diameter by which neighbours may overlap.
        confluence: mean share of the field that cells cover.
    """

    name: str
    nucleus_um: float
    nucleus_cv: float
    nucleus_elongation: float
    cell_um: float
    cell_cv: float
    cell_elongation: float
    irregularity: float
    protrusions: float
    protrusion_um: float
    clustering: float
    overlap: float
    confluence: float


@dataclass(frozen=True)
class Imaging:
    """How one field is imaged: nuisance, drawn from the field's own seed and never from gene or class.

    Attributes:
        exposure: for each role of the field, in their order, the intensity (camera units) that a density of 1 gives.
        background: for each role, unspecific signal everywhere, as a density.
        defocus_um: distance from the plane of focus.
        illumination: loss of light from the brightest point to the field's edge, 0 to 1.
        centre: (y, x) of the brightest point, as shares of the field's height and width.
        bleed_through: share of each marker's light that its neighbour to the red also sees; less to the blue, and less
            of the protein's (`wherein.simulate.optics`).
        gain: camera units for a photo-electron.
        read_noise: standard deviation of the camera's noise, in camera units.
        offset: camera units where there is no light.
    """

    exposure: tuple[float, ...]
    background: tuple[float, ...]
    defocus_um: float
    illumination: float
    centre: tuple[float, float]
    bleed_through: float
    gain: float
    read_noise: float
    offset: float


@dataclass(frozen=True)
class FieldSpec:
    """Everything that one field is drawn from.

    Attributes:
        field_id: name of the field, which tells nothing.
        seed: seed of this field's cells and of all its nuisance.
        gene_seed: seed of what is the protein's own (count, size and share of its puncta), the same in all its fields.
        reagent_seed: seed of what is the reagent's own (its unspecific staining), the same in all its fields.
        mode: a key of ROLES_OF_MODE.
        reference: `rfp`, `nuclear_pore` or `brightfield` in the mode `yeast`, else None.
        field_px: height and width in pixels.
        pixel_size_um: micrometres a pixel.
        cell_line: how the cells look.
        confluence: share of the field that cells cover, nuisance of this field.
        max_cells: most cells in the field, all of them away from the border; None for no limit.
        debris: pieces of debris for each 10,000 square micrometres.
        gene: symbol of the protein; None in a control.
        locations: where the protein is, terms of the vocabulary (`hpa19` or the yeast terms of the protein table).
        location_weights: share of the specific signal at each of `locations`; they add up to 1.
        variable_kind: `spatial` (some cells show `variable_locations` in place of `locations`), `intensity` (some
            cells show a signal of `variable_intensity`), or None.
        variable_share: share of the cells that differ, 0 without variation.
        variable_locations: where the protein is in the cells that differ.
        variable_intensity: their signal against that of the others; the mean over all cells stays that of any protein.
        cycle_peak: place in the cell cycle (0 to 1) where a protein that follows it is most abundant; None for one
            that does not follow it.
        mitotic_share: share of cells in mitosis, the same for all proteins.
        control: only the secondary antibody, or an untagged strain: nothing but unspecific signal.
        imaging: how the field is imaged.
        mislabelled: whether the published labels are wrong.
        fault: a key of `wherein.reasons.FIELD_REASONS`, or None for a good field.
        severity: 1 (mild) to 3 (gross); 0 for a good field.
    """

    field_id: str
    seed: int
    gene_seed: int
    reagent_seed: int
    mode: str
    reference: str | None
    field_px: int
    pixel_size_um: float
    cell_line: CellLine
    confluence: float
    imaging: Imaging
    gene: str | None = None
    locations: tuple[str, ...] = ()
    location_weights: tuple[float, ...] = ()
    variable_kind: str | None = None
    variable_share: float = 0.0
    variable_locations: tuple[str, ...] = ()
    variable_intensity: float = 1.0
    cycle_peak: float | None = None
    mitotic_share: float = 0.04
    max_cells: int | None = None
    debris: float = 0.0
    control: bool = False
    mislabelled: bool = False
    fault: str | None = None
    severity: int = 0
    roles: tuple[str, ...] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "roles", ROLES_OF_MODE[self.mode])

    @property
    def protein_locations(self) -> tuple[str, ...]:
        """Every place where the protein is found in some cell, in order, without repetition."""
        return tuple(dict.fromkeys(self.locations + self.variable_locations))

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width in pixels."""
        return self.field_px, self.field_px
