"""Draw what gene sets and complexes say of one model."""

from wherein.logs import open_log

if __name__ == "__main__":
    open_log(snakemake.log[0])

    from wherein.views.gene_set_figures import plot_gene_sets

    plot_gene_sets(
        model=snakemake.wildcards.model,
        inputs=dict(snakemake.input.items()),
        settings=snakemake.params.settings,
        outputs=dict(snakemake.output.items()),
    )
