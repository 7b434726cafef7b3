"""The places of a protein: which drawing stands for each class of the vocabulary hpa19.

A drawing gives the structure alone; `wherein.simulate.protein` sets how much of a cell's signal sits in it.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from wherein.simulate import cytoplasmic, nuclear
from wherein.simulate.anatomy import Anatomy
from wherein.simulate.traits import Traits

Draw = Callable[[Anatomy, Traits, np.random.Generator], np.ndarray]


@dataclass(frozen=True)
class Place:
    """How a class is drawn.

    Attributes:
        draw: the drawing.
        share: least and most of a cell's signal that sits in the structure; the rest is diffuse.
    """

    draw: Draw
    share: tuple[float, float]


PLACES: dict[str, Place] = {
    "Nucleoplasm": Place(nuclear.nucleoplasm, (0.72, 0.92)),
    "Nuclear membrane": Place(nuclear.nuclear_membrane, (0.35, 0.52)),
    "Nucleoli": Place(nuclear.nucleoli, (0.22, 0.38)),
    "Nucleoli fibrillar center": Place(nuclear.fibrillar_centers, (0.06, 0.12)),
    "Nuclear speckles": Place(nuclear.nuclear_speckles, (0.26, 0.42)),
    "Nuclear bodies": Place(nuclear.nuclear_bodies, (0.06, 0.12)),
    "Endoplasmic reticulum": Place(cytoplasmic.endoplasmic_reticulum, (0.85, 0.95)),
    "Golgi apparatus": Place(cytoplasmic.golgi_apparatus, (0.2, 0.32)),
    "Intermediate filaments": Place(cytoplasmic.intermediate_filaments, (0.6, 0.8)),
    "Actin filaments": Place(cytoplasmic.actin_filaments, (0.65, 0.85)),
    "Microtubules": Place(cytoplasmic.microtubules, (0.75, 0.88)),
    "Mitotic spindle": Place(cytoplasmic.mitotic_spindle, (0.5, 0.7)),
    "Centrosome": Place(cytoplasmic.centrosome, (0.02, 0.04)),
    "Plasma membrane": Place(cytoplasmic.plasma_membrane, (0.78, 0.92)),
    "Mitochondria": Place(cytoplasmic.mitochondria, (0.65, 0.85)),
    "Aggresome": Place(cytoplasmic.aggresome, (0.12, 0.22)),
    "Cytosol": Place(cytoplasmic.cytosol, (0.9, 0.98)),
    "Vesicles and punctate cytosolic patterns": Place(cytoplasmic.vesicles, (0.36, 0.56)),
}
"""How each class of hpa19 with a specific signal is drawn, in the vocabulary's order."""

NEGATIVE = "Negative"
"""The class of proteins of which only unspecific background is seen."""
