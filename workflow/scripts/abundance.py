"""Measure how much of each protein there is above the background of controls."""

from wherein.logs import open_log

if __name__ == "__main__":
    open_log(snakemake.log[0])

    from wherein.analysis.abundance import measure_abundance

    measure_abundance(
        fields=snakemake.input.fields,
        qc=snakemake.input.qc,
        cells=snakemake.input.cells,
        samples=snakemake.input.samples,
        settings=snakemake.params.settings,
        proteins=snakemake.output.proteins,
        preparations=snakemake.output.preparations,
        background=snakemake.output.background,
        summary=snakemake.output.summary,
    )
