"""Put the units of one model together to fields, samples, reagents and proteins."""

from wherein.logs import open_log

if __name__ == "__main__":
    open_log(snakemake.log[0])

    from wherein.analysis.aggregating import aggregate_units

    aggregate_units(
        model=snakemake.wildcards.model,
        level=snakemake.params.level,
        fields=snakemake.input.fields,
        qc=snakemake.input.qc,
        cells=snakemake.input.cells,
        samples=snakemake.input.samples,
        embeddings=snakemake.input.embeddings,
        quality=snakemake.input.get("quality", []),
        predictions=snakemake.input.predictions,
        proteins=snakemake.input.proteins,
        map_of_units=snakemake.input.units,
        settings=snakemake.params.settings,
        folder=snakemake.output.folder,
        summary=snakemake.output.summary,
    )
