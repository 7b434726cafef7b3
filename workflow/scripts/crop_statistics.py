"""Count the pixels of all crops by source, channel and intensity."""

from wherein.logs import open_log

if __name__ == "__main__":
    open_log(snakemake.log[0])

    from wherein.reading.statistics import statistics_run

    statistics_run(
        fields=snakemake.input.fields,
        crops=snakemake.input.crops,
        cells=snakemake.input.cells,
        statistics=snakemake.output.statistics,
        histograms=snakemake.output.histograms,
        summary=snakemake.output.summary,
        threads=snakemake.threads,
    )
