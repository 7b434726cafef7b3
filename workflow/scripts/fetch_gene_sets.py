"""Fetch gene sets, check them, and write them as a GMT file."""

from wherein.logs import open_log

if __name__ == "__main__":
    open_log(snakemake.log[0])

    from wherein.analysis.fetch_gene_sets import fetch_gene_sets

    fetch_gene_sets(
        name=snakemake.wildcards.gene_sets,
        source=snakemake.params.source,
        server=snakemake.params.server,
        target=snakemake.output[0],
        lock="resources/lock.tsv",
        # how files are fetched is no parameter: another timeout fetches nothing again
        settings=snakemake.config["download"],
    )
