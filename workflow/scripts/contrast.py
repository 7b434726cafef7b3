"""Compare two conditions protein by protein, with replicates as the unit."""

from wherein.logs import open_log

if __name__ == "__main__":
    open_log(snakemake.log[0])

    from wherein.analysis.contrast import contrast_conditions

    contrast_conditions(
        model=snakemake.wildcards.model,
        contrast=snakemake.wildcards.contrast,
        level=snakemake.params.level,
        fields=snakemake.input.fields,
        qc=snakemake.input.qc,
        cells=snakemake.input.cells,
        samples=snakemake.input.samples,
        embeddings=snakemake.input.embeddings,
        predictions=snakemake.input.predictions,
        abundance=snakemake.input.abundance,
        settings=snakemake.params.settings,
        proteins=snakemake.output.proteins,
        classes=snakemake.output.classes,
        replicates=snakemake.output.replicates,
        summary=snakemake.output.summary,
    )
