"""Lay the maps of proteins of several models over one another."""

from wherein.logs import open_log

if __name__ == "__main__":
    open_log(snakemake.log[0])

    from wherein.analysis.aligned import align_models

    align_models(
        models=snakemake.params.models,
        proteins=snakemake.input.proteins,
        settings=snakemake.params.settings,
        aligned=snakemake.output.aligned,
        summary=snakemake.output.summary,
    )
