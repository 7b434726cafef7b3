"""Lay the maps of proteins of a model's releases over one another."""

from wherein.logs import open_log

if __name__ == "__main__":
    open_log(snakemake.log[0])

    from wherein.analysis.aligned import align_releases

    align_releases(
        model=snakemake.wildcards.model,
        history=snakemake.input.history,
        proteins=snakemake.input.proteins,
        settings=snakemake.params.settings,
        aligned=snakemake.output.aligned,
        summary=snakemake.output.summary,
    )
