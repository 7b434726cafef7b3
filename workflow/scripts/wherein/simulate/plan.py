"""The plan of a simulated source: which protein is shown in which field, on which plate, and what disturbs it.

Nothing is drawn here, so that the catalog can list a source of any size at once.
"""

from dataclasses import asdict, dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from wherein.channels import uri_column
from wherein.digest import digest
from wherein.simulate.proteins import Protein, draw_proteins
from wherein.simulate.spec import FULL_SCALE, ROLES_OF_MODE, CellLine, FieldSpec, Imaging

CELL_LINES = {
    "human": (
        CellLine("U-2 OS", 14.0, 0.10, 1.30, 27.0, 0.15, 1.45, 0.16, 3.0, 7.0, 0.10, 0.04, 0.78),
        CellLine("A-431", 12.5, 0.10, 1.15, 23.0, 0.13, 1.15, 0.10, 0.7, 3.5, 0.75, 0.06, 0.82),
        CellLine("HEK 293", 11.5, 0.12, 1.30, 19.0, 0.14, 1.30, 0.14, 1.5, 5.0, 0.45, 0.08, 0.66),
    ),
    "yeast": (CellLine("BY4741", 1.8, 0.08, 1.05, 5.0, 0.12, 1.12, 0.02, 0.0, 0.0, 0.80, 0.0, 0.52),),
}
"""Cell lines that are drawn. U-2 OS spreads, A-431 grows in flat colonies, HEK 293 is small and elongated."""

ORGANISM = {"four_roles": "human", "two_roles": "human", "yeast": "yeast"}
"""Whose cells each mode shows."""

FAULTS = (
    "out_of_focus",
    "low_contrast",
    "too_few_cells",
    "empty",
    "saturated",
    "channel_mismatch",
    "corrupt",
)
"""Kinds of bad fields, keys of `wherein.reasons.FIELD_REASONS`."""

SEVERITIES = (1, 2, 3)
"""Mild, plain and gross."""

EXPOSURE = {
    "nucleus": (800.0, 1300.0),
    "microtubules": (420.0, 700.0),
    "er": (480.0, 800.0),
    "protein": (430.0, 600.0),
    "gfp": (420.0, 660.0),
    "rfp": (700.0, 1200.0),
    "nuclear_pore": (350.0, 600.0),
    "brightfield": (1500.0, 2100.0),
}
"""Range of the camera units that a density of 1 gives, by role; in yeast by what the role shows.

The protein's keeps nearly all of a structure eight times as bright as the cell's mean below full scale, and gives even
the flat stain of a control a fifth of it (what `is_low_contrast` asks for).
"""

DEFOCUS_UM = {"human": 0.6, "yeast": 0.24}
"""Farthest that a good field is from the plane of focus: small cells ask for more care."""

EXTRA_REAGENTS = 8
"""One protein in this many has a second reagent, and one in this many a second cell line."""

WELLS = [f"{row}{column:02d}" for row in "ABCDEFGH" for column in range(1, 13)]
PLATES = 4
"""Fewest plates of a source."""


DRAWN_INTENSITY = 0.35
"""Share of the proteins published to vary in intensity that are drawn so: most of them vary little."""


class Plan(NamedTuple):
    """What a simulated source consists of.

    Attributes:
        fields: one row a field, columns of results/catalog/fields.parquet that a source gives.
        specs: what each field is drawn from, by field_id.
    """

    fields: pd.DataFrame
    specs: dict[str, FieldSpec]

    def version(self, field_id: str) -> str:
        """12 hexadecimal characters that change with anything a field's pixels are drawn from."""
        # a wrong label is no matter of pixels
        return digest(asdict(replace(self.specs[field_id], mislabelled=False)))


@dataclass
class Sample:
    """A reagent in a cell line: all its fields lie in one well.

    Attributes:
        protein: what is shown; None for a control.
        published: the locations that are published for it, right or wrong.
        reagent: name of the antibody or tag.
        cell_line: the line.
        mislabelled: whether `published` is another protein's.
        faults: fault and severity of each of its fields, (None, 0) for the good ones.
        plate: name of its plate.
        well: name of its well.
        condition: what was done to the cells; None where the source has no conditions.
        replicate: number of the well among those of the same sample, from 1.
    """

    protein: Protein | None
    published: tuple[str, ...]
    reagent: str
    cell_line: CellLine
    faults: list[tuple[str | None, int]]
    mislabelled: bool = False
    plate: str = ""
    well: str = ""
    condition: str | None = None
    replicate: int = 1


def plan_source(name: str, source: dict[str, Any]) -> Plan:
    """Plan a simulated source: the same name and configuration give the same plan.

    Args:
        name: name of the source.
        source: its configuration with all defaults filled in (`simulated_source` in config.schema.yaml).

    Returns:
        The fields in a random order, and what each is drawn from.

    Raises:
        ValueError: more proteins are asked for than the tables have.
    """
    seed = source["seed"]
    samples = plan_samples(source, generator(seed, "samples"))
    samples = treat(samples, source, generator(seed, "conditions"))
    add_faults(samples, source["faults"], generator(seed, "faults"))
    mislabel(samples, source["mislabelled"], generator(seed, "mislabelled"))
    lay_out(samples, source["confounded"], seed, generator(seed, "layout"))
    rows, specs = [], {}
    for sample in samples:
        for position, (fault, severity) in enumerate(sample.faults, start=1):
            # the code hides what is shown, and stays when other samples come or go
            drawn = [name, seed, sample.reagent, sample.cell_line.name, position]
            treated = [sample.condition, sample.replicate] if sample.condition or sample.replicate > 1 else []
            field_id = "f" + digest(drawn + treated, 11)
            specs[field_id] = field_spec(field_id, sample, fault, severity, source)
            rows.append(field_row(field_id, sample, position, source))
    frame = pd.DataFrame(rows)
    order = generator(seed, "order").permutation(len(frame))
    return Plan(frame.iloc[order].reset_index(drop=True), specs)


def seed_of(*parts: object) -> int:
    """A seed of 60 bits for a stream of random numbers, from what it is for."""
    return int(digest(list(parts), 15), 16)


def generator(*parts: object) -> np.random.Generator:
    """Random numbers of their own for what `parts` say."""
    return np.random.default_rng(seed_of(*parts))


def plan_samples(source: dict[str, Any], rng: np.random.Generator) -> list[Sample]:
    """Give proteins their reagents and cell lines, and add the controls.

    One protein in EXTRA_REAGENTS has a second reagent in the same line, and another a second cell line.

    Args:
        source: configuration of the source.
        rng: source of the draw.

    Returns:
        Samples without plates, faults or wrong labels; each with its number of good fields.
    """
    organism = ORGANISM[source["mode"]]
    lines = CELL_LINES[organism]
    good: tuple[str | None, int] = (None, 0)
    samples = []
    for i, protein in enumerate(draw_proteins(organism, source["proteins"], rng)):
        line = rng.permutation(len(lines))
        reagents = [reagent_code(source, protein.gene, number) for number in (1, 2)]
        made = [(reagents[0], lines[line[0]])]
        if i % EXTRA_REAGENTS == 1:
            made.append((reagents[1], lines[line[0]]))
        if i % EXTRA_REAGENTS == 3 and len(lines) > 1:
            made.append((reagents[0], lines[line[1]]))
        for reagent, cell_line in made:
            faults = [good] * source["fields_per_protein"]
            samples.append(Sample(protein, protein.published, reagent, cell_line, faults))
    # a control's well holds as many fields as any other
    for i in range(0, source["controls"], source["fields_per_protein"]):
        number = min(source["fields_per_protein"], source["controls"] - i)
        reagent = reagent_code(source, "no primary antibody", i)
        samples.append(Sample(None, ("Negative",), reagent, lines[rng.integers(len(lines))], [good] * number))
    return samples


def treat(samples: list[Sample], source: dict[str, Any], rng: np.random.Generator) -> list[Sample]:
    """Repeat the samples of proteins in every condition and replicate, and move some proteins in all but the first.

    A protein that moves is drawn in one other place that proteins of the source have. What is published stays: it is
    known of the first condition, and wrong in the others (`mislabelled`).

    Args:
        samples: the samples.
        source: configuration of the source.
        rng: source of the draw.
    """
    conditions = source["conditions"] or [None]
    proteins = list(dict.fromkeys(sample.protein for sample in samples if sample.protein))
    places = sorted({place for protein in proteins for place in protein.locations})
    number = round(source["relocated"] * len(proteins)) if len(conditions) > 1 else 0
    moved: dict[Protein, Protein] = {}
    for i in rng.permutation(len(proteins))[:number]:
        other = [place for place in places if place not in proteins[i].locations]
        if other:
            there = (other[rng.integers(len(other))],)
            moved[proteins[i]] = proteins[i]._replace(locations=there, varies=None)
    treated = []
    for sample in samples:
        if sample.protein is None:
            treated.append(sample)
            continue
        for condition in conditions:
            gone = sample.protein in moved and condition != conditions[0]
            shown = moved[sample.protein] if gone else sample.protein
            for replicate in range(1, source["replicates"] + 1):
                own = replace(sample, faults=list(sample.faults), condition=condition, replicate=replicate)
                treated.append(replace(own, protein=shown, mislabelled=gone))
    return treated


def reagent_code(source: dict[str, Any], *what: object) -> str:
    """Name of a reagent, which tells nothing of what it shows."""
    return f"SIM{seed_of(source['seed'], 'reagent', *what) % 10**8:08d}"


def add_faults(samples: list[Sample], number: int, rng: np.random.Generator) -> None:
    """Add bad fields to samples of proteins, in place; kinds and severities take turns.

    Args:
        samples: the samples.
        number: how many bad fields.
        rng: source of the draw of samples.
    """
    shown = [sample for sample in samples if sample.protein is not None]
    for i in range(number):
        kind = i % len(FAULTS)
        # severities shift with the kind, so that few faults already show all three
        severity = SEVERITIES[(i // len(FAULTS) + kind) % len(SEVERITIES)]
        shown[rng.integers(len(shown))].faults.append((FAULTS[kind], severity))


def mislabel(samples: list[Sample], share: float, rng: np.random.Generator) -> None:
    """Give a share of the proteins' samples the published locations of another protein, in place.

    Args:
        samples: the samples; controls keep their label.
        share: of the samples, 0 to 1.
        rng: source of the draw.
    """
    shown = [sample for sample in samples if sample.protein is not None]
    for i in rng.permutation(len(shown))[: round(share * len(shown))]:
        sample = shown[i]
        others = [
            other.protein
            for other in shown
            if other.protein and sample.protein and not set(other.protein.locations) & set(sample.protein.locations)
        ]
        if others:
            sample.published = others[rng.integers(len(others))].published
            sample.mislabelled = True


def lay_out(samples: list[Sample], confounded: bool, seed: int, rng: np.random.Generator) -> None:
    """Give every sample a plate and a well, in place.

    Args:
        samples: the samples.
        confounded: put each class (the first location) on plates of its own, as no screen should.
        seed: seed of the source, for the plates' names.
        rng: source of the draw.
    """
    if confounded:
        kinds = [sample.protein.locations[0] if sample.protein else "Negative" for sample in samples]
        plates = [sorted(set(kinds)).index(kind) for kind in kinds]
    else:
        number = max(PLATES, -(-len(samples) // len(WELLS)))
        plates = list(rng.permutation(len(samples)) % number)
    free: dict[tuple[int, int], list[int]] = {}
    count: dict[int, int] = {}
    for i in rng.permutation(len(samples)):
        plate = int(plates[i])
        used = count.setdefault(plate, 0)
        count[plate] += 1
        copy = (plate, used // len(WELLS))
        wells = free.setdefault(copy, list(rng.permutation(len(WELLS))))
        samples[i].plate = "P" + digest([seed, "plate", *copy], 6)
        samples[i].well = WELLS[wells.pop()]


def field_row(field_id: str, sample: Sample, position: int, source: dict[str, Any]) -> dict[str, Any]:
    """One row of the table of fields: what a release would publish."""
    protein = sample.protein
    return {
        "field_id": field_id,
        "release": source["release"],
        "plate": sample.plate,
        "well": sample.well,
        "position": str(position),
        "ensembl_ids": [protein.ensembl_id] if protein else [],
        "genes": [protein.gene] if protein else [],
        "reagent": sample.reagent,
        "cell_line": sample.cell_line.name,
        "condition": sample.condition,
        "sample": "/".join(filter(None, (sample.reagent, sample.cell_line.name, sample.condition))),
        "control": protein is None,
        "labels": list(sample.published),
        "reliability": protein.reliability if protein else None,
        "pixel_size_um": float(source["pixel_size_um"]),
        "full_scale": float(FULL_SCALE),
        **{uri_column(role): f"simulated:{field_id}/{role}" for role in ROLES_OF_MODE[source["mode"]]},
    }


def field_spec(field_id: str, sample: Sample, fault: str | None, severity: int, source: dict[str, Any]) -> FieldSpec:
    """What one field is drawn from."""
    seed = seed_of(source["seed"], "field", field_id)
    rng = generator(seed, "nuisance")
    reference = source["reference"] if source["mode"] == "yeast" else None
    return FieldSpec(
        field_id=field_id,
        seed=seed,
        gene_seed=seed_of(source["seed"], "gene", sample.protein.gene if sample.protein else "control"),
        reagent_seed=seed_of(source["seed"], "reagent", sample.reagent),
        mode=source["mode"],
        reference=reference,
        field_px=source["field_px"],
        pixel_size_um=float(source["pixel_size_um"]),
        cell_line=sample.cell_line,
        confluence=float(np.clip(sample.cell_line.confluence * np.exp(rng.normal(0, 0.1)), 0.25, 0.95)),
        debris=float(rng.uniform(0, 1.5)),
        imaging=imaging_of(source["mode"], reference, rng, generator(source["seed"], "plate", sample.plate)),
        control=sample.protein is None,
        mislabelled=sample.mislabelled,
        fault=fault,
        severity=severity,
        **(protein_places(sample.protein, source["seed"]) if sample.protein else {}),
    )


def imaging_of(mode: str, reference: str | None, rng: np.random.Generator, plate: np.random.Generator) -> Imaging:
    """Draw how a field is imaged: its own nuisance, and what its plate has in common.

    Args:
        mode: mode of the source.
        reference: what the role `reference` shows.
        rng: random numbers of the field.
        plate: random numbers of the plate.
    """
    roles = ROLES_OF_MODE[mode]
    shown = {"protein": "gfp", "reference": reference} if mode == "yeast" else {}
    ranges = [np.log(EXPOSURE[shown.get(role) or role]) for role in roles]
    farthest = DEFOCUS_UM[ORGANISM[mode]]
    # a plate's staining and lamp: a few per cent that all its fields share, beside the field's own
    staining = plate.uniform(-0.08, 0.08, len(roles))
    haze = plate.uniform(0.8, 1.25)
    return Imaging(
        exposure=tuple(float(np.exp(rng.uniform(*span) + shift)) for span, shift in zip(ranges, staining, strict=True)),
        background=tuple(float(haze * rng.uniform(0.03, 0.14)) for _ in roles),
        defocus_um=float(farthest * min(abs(rng.normal(0, 0.4)), 1.0)),
        illumination=float(rng.uniform(0.04, 0.25)),
        centre=(float(rng.uniform(0.35, 0.65)), float(rng.uniform(0.35, 0.65))),
        bleed_through=float(rng.uniform(0.003, 0.015)),
        gain=float(rng.uniform(0.6, 1.3)),
        read_noise=float(rng.uniform(3.0, 8.0)),
        offset=float(rng.uniform(90.0, 110.0)),
    )


def protein_places(protein: Protein, seed: int) -> dict[str, Any]:
    """Where a protein is and how it differs from cell to cell, the same in all its fields.

    Args:
        protein: the protein.
        seed: seed of the source.

    Returns:
        Attributes of FieldSpec.
    """
    rng = generator(seed, "protein", protein.gene)
    usual, other = protein.locations, protein.locations
    varies = protein.varies
    if varies == "spatial":
        usual, other = protein.locations[:1], protein.locations[1:]
    elif varies == "intensity" and rng.random() > DRAWN_INTENSITY:
        varies = None
    return {
        "gene": protein.gene,
        "locations": usual,
        "location_weights": shares(len(usual), rng),
        "variable_kind": varies,
        "variable_share": float(rng.uniform(0.2, 0.4)) if varies else 0.0,
        "variable_locations": other if varies else (),
        "variable_intensity": float(rng.uniform(0.2, 0.35)) if varies == "intensity" else 1.0,
        "cycle_peak": float(rng.uniform(0.7, 0.95)) if protein.cycle else None,
    }


def shares(number: int, rng: np.random.Generator) -> tuple[float, ...]:
    """Shares of a protein's places, the first (its main location) the largest; they add up to 1."""
    weights = np.sort(rng.uniform(0.6, 1.4, number))[::-1]
    return tuple(float(weight) for weight in weights / weights.sum())
