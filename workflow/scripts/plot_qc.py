"""Draw what quality control measured, and fields that it passed and rejected."""

from wherein.logs import open_log

if __name__ == "__main__":
    open_log(snakemake.log[0])

    from wherein.views.qc import plot_qc

    plot_qc(
        fields=snakemake.input.fields,
        files=snakemake.input.files,
        listed=snakemake.input.listed,
        qc=snakemake.input.qc,
        settings=snakemake.params.settings,
        limits=snakemake.params.limits,
        measures=snakemake.output.measures,
        examples=snakemake.output.examples,
    )
