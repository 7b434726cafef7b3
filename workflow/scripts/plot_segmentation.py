"""Draw outlines over fields, and the cells' sizes and counts."""

from wherein.logs import open_log

if __name__ == "__main__":
    open_log(snakemake.log[0])

    from wherein.views.segmentation import plot_segmentation

    plot_segmentation(
        fields=snakemake.input.fields,
        files=snakemake.input.files,
        qc=snakemake.input.qc,
        masks=snakemake.input.masks,
        cells=snakemake.input.cells,
        settings=snakemake.params.settings,
        overlays=snakemake.output.overlays,
        measures=snakemake.output.measures,
    )
