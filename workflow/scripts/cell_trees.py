"""Join the cells of chosen proteins into trees."""

from wherein.logs import open_log

if __name__ == "__main__":
    open_log(snakemake.log[0])

    from wherein.analysis.cell_trees import cell_trees

    cell_trees(
        model=snakemake.wildcards.model,
        level=snakemake.params.level,
        proteins=snakemake.input.proteins,
        fields=snakemake.input.fields,
        cells=snakemake.input.cells,
        samples=snakemake.input.samples,
        embeddings=snakemake.input.embeddings,
        predictions=snakemake.input.predictions,
        heterogeneity=snakemake.input.heterogeneity,
        settings=snakemake.params.settings,
        trees=snakemake.output.trees,
        summary=snakemake.output.summary,
    )
