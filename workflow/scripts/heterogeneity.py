"""Ask which proteins differ from cell to cell."""

from wherein.logs import open_log

if __name__ == "__main__":
    open_log(snakemake.log[0])

    from wherein.analysis.heterogeneity import measure_heterogeneity

    measure_heterogeneity(
        model=snakemake.wildcards.model,
        fields=snakemake.input.fields,
        cells=snakemake.input.cells,
        samples=snakemake.input.samples,
        embeddings=snakemake.input.embeddings,
        predictions=snakemake.input.predictions,
        settings=snakemake.params.settings,
        heterogeneity=snakemake.output.heterogeneity,
        by_field=snakemake.output.fields,
        summary=snakemake.output.summary,
    )
