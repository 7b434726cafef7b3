"""Write the index of all crops of a run."""

from wherein.logs import open_log

if __name__ == "__main__":
    open_log(snakemake.log[0])

    from wherein.reading.build_index import index_run

    index_run(
        fields=snakemake.input.fields,
        qc=snakemake.input.qc,
        cells=snakemake.input.cells,
        crops=snakemake.input.crops,
        split=snakemake.input.split,
        samples=snakemake.input.samples,
        index=snakemake.output.index,
        summary=snakemake.output.summary,
    )
