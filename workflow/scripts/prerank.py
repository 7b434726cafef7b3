"""Ask which gene sets gather at the ends of rankings of the proteins."""

from wherein.logs import open_log

if __name__ == "__main__":
    open_log(snakemake.log[0])

    from wherein.analysis.prerank import enrich_rankings

    enrich_rankings(
        model=snakemake.wildcards.model,
        proteins=snakemake.input.proteins,
        heterogeneity=snakemake.input.heterogeneity,
        settings=snakemake.params.settings,
        prerank=snakemake.output.prerank,
        summary=snakemake.output.summary,
        threads=snakemake.threads,
    )
