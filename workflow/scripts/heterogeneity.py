"""Ask which proteins differ from cell to cell."""

from wherein.logs import open_log

if __name__ == "__main__":
    open_log(snakemake.log[0])

    from wherein.analysis.heterogeneity import measure_heterogeneity

    names = ("heterogeneity", "fields", "samples", "variance", "compartments", "compartment_cells", "published")
    measure_heterogeneity(
        model=snakemake.wildcards.model,
        fields=snakemake.input.fields,
        cells=snakemake.input.cells,
        embeddings=snakemake.input.embeddings,
        predictions=snakemake.input.predictions,
        settings=snakemake.params.settings,
        words=snakemake.params.words,
        outputs={name: snakemake.output[name] for name in names},
        summary=snakemake.output.summary,
        qc=snakemake.input.qc,
        quality=snakemake.input.quality,
        samples=snakemake.input.samples,
    )
