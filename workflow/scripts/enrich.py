"""Ask what the proteins of each cluster have in common."""

from wherein.logs import open_log

if __name__ == "__main__":
    open_log(snakemake.log[0])

    from wherein.analysis.enrichment import enrich_clusters

    enrich_clusters(
        model=snakemake.wildcards.model,
        proteins=snakemake.input.proteins,
        settings=snakemake.params.settings,
        enrichment=snakemake.output.enrichment,
        libraries=snakemake.output.libraries,
        identifiers=snakemake.output.identifiers,
        summary=snakemake.output.summary,
    )
