"""Count the cells of every sample over all its fields."""

from wherein.logs import open_log

if __name__ == "__main__":
    open_log(snakemake.log[0])

    from wherein.crops.samples import count_samples

    count_samples(
        fields=snakemake.input.fields,
        cells=snakemake.input.cells,
        least=snakemake.params.least,
        samples=snakemake.output.samples,
        summary=snakemake.output.summary,
    )
