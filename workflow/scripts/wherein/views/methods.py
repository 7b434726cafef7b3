"""How each stage works, in two sentences for readers of the pages, with the papers that it follows."""

from typing import NamedTuple


class Method(NamedTuple):
    """What the pages say of a stage.

    Attributes:
        stage: its name.
        text: two sentences.
        papers: what they follow; "" for none.
    """

    stage: str
    text: str
    papers: str


METHODS = (
    Method(
        "Catalog",
        "Every field of every source is listed with a version that follows from its files and pixel size. Fields "
        "are shared out over fixed groups, so that a new release leaves finished work as it is.",
        "",
    ),
    Method(
        "Download",
        "Files are found, their checksums taken; simulated fields are drawn here. What is missing becomes a row "
        "with a reason, never a gap.",
        "",
    ),
    Method(
        "Quality control",
        "Cells are counted, and contrast, sharpness, saturation and the fit of the channels to each other are "
        "measured. The first reason that holds is kept with what was found and what is allowed.",
        "",
    ),
    Method(
        "Segmentation",
        "Nuclei are outlined first, touching ones split; each cell grows from its nucleus over the marker "
        "channels. Cells without a nucleus and nuclei without a cell are reported.",
        "",
    ),
    Method(
        "Crops and ledger",
        "A window of fixed size in micrometres is cut around each kept cell, with raw intensities. Every outlined"
        " object has one row in the ledger, kept or with one reason.",
        "",
    ),
    Method(
        "Split",
        "Proteins that share a reagent or nearly the same picture stay in one fold. A model is scored only on "
        "proteins that it has not seen.",
        "",
    ),
    Method(
        "Models",
        "Classic describes a cell by sums, correlations with the markers and texture at five scales, and a random"
        " forest reads locations from them. GapNet-PL is a convolutional network with published weights that "
        "predicts locations from all four channels.",
        "Haralick, Shanmugam & Dinstein 1973 (texture); Breiman 2001 (random forest); Rumetshofer et al. 2019 "
        "(GapNet-PL).",
    ),
    Method(
        "Evaluation",
        "Precision, recall and F1 are computed for each location on folds that the model has not seen. Labels "
        "drawn by their frequency give the score of guessing.",
        "",
    ),
    Method(
        "Atlas",
        "A protein is the mean of its cells' vectors; principal components and UMAP place proteins and cells on "
        "maps. Hierarchical clustering groups the proteins without looking at their published locations.",
        "McInnes, Healy & Melville 2018 (UMAP).",
    ),
    Method(
        "Enrichment",
        "Each cluster is compared with the other proteins of this run, term by term, by the hypergeometric test. "
        "q is the false discovery rate over all terms tested for the same question.",
        "Fang, Liu & Peltz 2023 (GSEApy); Benjamini & Hochberg 1995.",
    ),
    Method(
        "Heterogeneity",
        "How far the cells of a protein lie from each other is compared with cells of other proteins in the same "
        "cell line. Entropy tells whether its cells are predicted in one location or in several.",
        "",
    ),
)
"""Stages in their order."""
