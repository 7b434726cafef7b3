"""Two release states of proteins whose places, scatter and moves are drawn, as the atlas hands them on."""

from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from wherein.analysis.aggregate import Scale
from wherein.analysis.moved import FieldMeans


@dataclass
class States:
    """Fields of two states; protein, sample and mean vector of each, and which state has it.

    Attributes:
        moved: names of proteins whose new fields lie elsewhere.
    """

    names: list[str] = field(default_factory=list)
    proteins: list[str] = field(default_factory=list)
    samples: dict[str, str] = field(default_factory=dict)
    means: list[np.ndarray] = field(default_factory=list)
    old: list[bool] = field(default_factory=list)
    new: list[bool] = field(default_factory=list)
    units: list[int] = field(default_factory=list)
    moved: set[str] = field(default_factory=set)

    def add(self, protein: str, sample: str, mean: np.ndarray, old: bool, new: bool, units: int = 10) -> None:
        name = f"f{len(self.names):05d}@v"
        self.names.append(name)
        self.proteins.append(protein)
        self.samples[name] = f"{protein}/{sample}"
        self.means.append(mean)
        self.old.append(old)
        self.new.append(new)
        self.units.append(units)

    def rows(self, state: str, which: list[bool], labels: dict[str, list[str]] | None = None) -> pd.DataFrame:
        """Rows of history.parquet."""
        table = pd.DataFrame({"protein": self.proteins, "name": self.names, "units": self.units, "in": which})
        rows = []
        for protein, own in table[table["in"]].groupby("protein"):
            means = np.stack([self.means[row] for row in own.index])
            mean = (means * own["units"].to_numpy()[:, None]).sum(axis=0) / own["units"].sum()
            rows.append(
                {"state": state, "space": "s", "protein": protein, "ensembl_ids": [f"E{protein}"],
                 "labels": (labels or {}).get(protein, ["Cytosol"]), "location": "Cytosol",
                 "n_units": own["units"].sum(), "n_fields": len(own), "cluster": "1", "umap_1": mean[0],
                 "umap_2": mean[1], "vector": mean, "fields": own["name"].tolist(),
                 "field_units": own["units"].to_numpy()}
            )  # fmt: skip
        return pd.DataFrame(rows)

    def now(self) -> FieldMeans:
        present = np.array(self.new)
        return FieldMeans(
            np.array(self.names, object)[present],
            np.array(self.proteins, object)[present],
            np.array(self.means, np.float32)[present],
        )

    def scale(self) -> Scale:
        width = len(self.means[0])
        return Scale(np.zeros(width), np.zeros(width), np.ones(width), np.ones(width, bool), None)


def drawn_states(
    rng: np.random.Generator,
    proteins: int = 400,
    changed: float = 0.25,
    moves: float = 0.2,
    shift: float = 0.0,
    width: int = 30,
    sample_spread: float = 0.7,
    uneven: float = 0.0,
    samples: int = 3,
    steep: float = 1.0,
) -> States:
    """Proteins of 1 to `samples` samples and 1 to 4 fields in each; in some of them fields came, went or changed.

    Args:
        proteins: number of proteins.
        changed: share whose fields differ between the states.
        moves: share of these that moved.
        shift: distance of the new place, in standard deviations of a field (over all directions together).
        width: dimensions.
        sample_spread: standard deviation between samples, that of fields being 1.
        uneven: standard deviation of the logarithm of a protein's own spread.
        samples: most samples of a protein.
        steep: how much directions differ: their standard deviations fall as rank to minus this power.
    """
    shape = np.arange(1, width + 1) ** -steep
    shape /= np.sqrt((shape**2).sum())
    states = States()

    def drawn(spread: float) -> np.ndarray:
        return spread * rng.normal(size=width) * shape

    for number in range(proteins):
        name, own = f"P{number:04d}", np.exp(uneven * rng.normal())
        place = drawn(3)
        count = rng.integers(1, samples + 1)
        # one more sample than the first state has: it may come with the second
        centres = [place + drawn(own * sample_spread) for _ in range(count + 1)]
        differs = rng.random() < changed
        again = differs and rng.random() < 1 / 3
        for sample in range(count):
            for _ in range(rng.integers(1, 5)):
                states.add(name, f"s{sample}", centres[sample] + drawn(own), True, not again)
        if not differs:
            continue
        step = np.zeros(width)
        if rng.random() < moves:
            direction = drawn(1)
            step = shift * direction / np.linalg.norm(direction)
            states.moved.add(name)
        # fields of a sample that was there, or of a new one
        sample = rng.integers(count + 1)
        for _ in range(rng.integers(2, 6)):
            states.add(name, f"s{sample}", centres[sample] + step + drawn(own), False, True)
    return states
