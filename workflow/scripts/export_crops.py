"""Write the crops of a source in the layout of another program."""

from wherein.logs import open_log

if __name__ == "__main__":
    open_log(snakemake.log[0])

    from wherein.exchange.exporting import export_run

    export_run(
        layout=snakemake.wildcards.layout,
        source=snakemake.wildcards.source,
        index=snakemake.input.index,
        crops=snakemake.input.crops,
        cells=snakemake.input.cells,
        settings=snakemake.params.settings,
        folder=snakemake.output.folder,
        summary=snakemake.output.summary,
    )
