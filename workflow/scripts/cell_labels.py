"""Compare the labels of single cells with those of their images."""

from wherein.logs import open_log

if __name__ == "__main__":
    open_log(snakemake.log[0])

    from wherein.analysis.cell_labels import label_cells

    label_cells(
        model=snakemake.wildcards.model,
        fields=snakemake.input.fields,
        cells=snakemake.input.cells,
        samples=snakemake.input.samples,
        predictions=snakemake.input.predictions,
        settings=snakemake.params.settings,
        limits=snakemake.output.limits,
        labels=snakemake.output.labels,
        exclusive=snakemake.output.exclusive,
        summary=snakemake.output.summary,
    )
