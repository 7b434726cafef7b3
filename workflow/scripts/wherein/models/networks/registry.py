"""Names of all networks, and what is known of each without loading torch: the configuration is checked by this."""

from typing import NamedTuple


class Network(NamedTuple):
    """What is known of a network before it is built.

    Attributes:
        name: how configuration names it.
        module: dotted name of the module whose `build(roles, classes, size_px, **options)` makes it.
        embedding: length of its vector.
        size_px: height and width in pixels of the images that its paper feeds it.
        smallest_px: least height and width in pixels that it takes.
        multiple_of_px: height and width must be multiples of this; 1 where any size goes.
        normalization: one of `wherein.reading.normalization.NORMALIZATIONS`, as the paper feeds it.
        vocabulary: classes of the paper, a name of `wherein.labels.VOCABULARIES`.
        layer: dotted name of the module of the network on which attention maps are drawn unless another is chosen.
        source: paper and section.
    """

    name: str
    module: str
    embedding: int
    size_px: int
    smallest_px: int
    multiple_of_px: int
    normalization: str
    vocabulary: str
    layer: str
    source: str


HERE = "wherein.models.networks"
GAPNET = ("rumetshofer2019", "gapnet13")
"""Normalization and vocabulary of the comparison of Rumetshofer et al. 2019."""

WINNER = ("ouyang2019", "hpa28")
"""Normalization and vocabulary of the competition of Ouyang et al. 2019."""

LATER = ("ouyang2019", "hpa19")
"""Normalization of the same team, and vocabulary of the competition of Le et al. 2022."""

ENTRIES = (
    Network(
        "gapnet-pl", f"{HERE}.gapnet_pl", 256, 1024, 8, 1, *GAPNET, "convolutions.7",
        "Rumetshofer et al. 2019, section 3, GapNet-PL, and figure 3",
    ),
    Network(
        "densenet121", f"{HERE}.densenet121", 1024, 1024, 32, 1, *GAPNET, "body.features.denseblock3",
        "Rumetshofer et al. 2019, section 3, DenseNet, and table 4; Huang et al. 2017",
    ),
    Network(
        "mcnn", f"{HERE}.mcnn", 512, 1024, 128, 1, *GAPNET, "combined",
        "Rumetshofer et al. 2019, section 3, M-CNN, and figure 7; Godinez et al. 2017",
    ),
    Network(
        "deeploc", f"{HERE}.deeploc", 128, 1024, 16, 1, *GAPNET, "convolutions",
        "Rumetshofer et al. 2019, section 3, DeepLoc, and table 5; Kraus et al. 2017",
    ),
    Network(
        "mil", f"{HERE}.mil", 1000, 1024, 32, 1, *GAPNET, "features",
        "Rumetshofer et al. 2019, section 3, Convolutional MIL; Kraus et al. 2016",
    ),
    Network(
        "fcn-seg", f"{HERE}.fcn_seg", 128, 1024, 8, 1, *GAPNET, "combine",
        "Rumetshofer et al. 2019, section 3, FCN-Seg; Liimatainen et al. 2018",
    ),
    Network(
        "densenet121-large", f"{HERE}.densenet121_large", 1024, 1024, 64, 1, *WINNER, "body.features.denseblock3",
        "Ouyang et al. 2019, team 1, densenet121_1024 (supplementary figure 12 and released code)",
    ),
    Network(
        "inception-v3", f"{HERE}.inception_v3", 2048, 512, 75, 1, *WINNER, "body.Mixed_7c",
        "Ouyang et al. 2019, team 3, on the competition's images of 512; Szegedy et al. 2016, table 1",
    ),
    Network(
        "multi-scale", f"{HERE}.multi_scale", 1024, 512, 150, 1, *WINNER, "body.Mixed_7c",
        "Ouyang et al. 2019, teams 4 and 10, on the competition's images of 512",
    ),
    Network(
        "resnet50", f"{HERE}.resnet50", 512, 512, 32, 1, *WINNER, "body.layer3",
        "Ouyang et al. 2019, team 1, metric learning, on the competition's images of 512; He et al. 2016, table 1",
    ),
    Network(
        "se-resnext50", f"{HERE}.se_resnext50", 2048, 224, 32, 1, *LATER, "body.layer4",
        "Le et al. 2022, team 3; Hu et al. 2018, table 1, at its own 224",
    ),
    Network(
        "efficientnet-b0", f"{HERE}.efficientnet_b0", 1280, 224, 32, 1, *LATER, "body._blocks",
        "Le et al. 2022, results; Tan and Le 2019, table 1, at its own 224",
    ),
    Network(
        "vit", f"{HERE}.vit", 768, 224, 16, 16, *LATER, "last_maps",
        "Le et al. 2022, results; Dosovitskiy et al. 2021, table 1 (ViT-Base), at its own 224",
    ),
)  # fmt: skip
"""All networks, in the order of the papers. A new one is a file with its `build`, and an entry here."""

NETWORKS: dict[str, Network] = {entry.name: entry for entry in ENTRIES}
"""Every network by its name."""
