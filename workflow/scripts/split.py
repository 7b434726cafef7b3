"""Share out genes and fields over folds; what was shared out before stays where it is."""

from wherein.logs import open_log

if __name__ == "__main__":
    open_log(snakemake.log[0])

    from wherein.split import split_run

    split_run(
        fields=snakemake.input.fields,
        qc=snakemake.input.qc,
        cells=snakemake.input.cells,
        settings=snakemake.params.settings,
        split=snakemake.output.split,
        summary=snakemake.output.summary,
    )
