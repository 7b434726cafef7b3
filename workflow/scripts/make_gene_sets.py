"""Make gene sets from annotations with their evidence."""

from wherein.logs import open_log

if __name__ == "__main__":
    open_log(snakemake.log[0])

    from wherein.analysis.annotations import make_gene_sets

    make_gene_sets(
        name=snakemake.wildcards.made_sets,
        source=snakemake.params.source,
        target=snakemake.output.gene_sets,
        summary=snakemake.output.summary,
    )
