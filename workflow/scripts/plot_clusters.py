"""Draw the feature spectrum, the stability of clusters, clusters within locations, and trees of cells."""

from wherein.logs import open_log

if __name__ == "__main__":
    open_log(snakemake.log[0])

    from wherein.views.cluster_figures import plot_clusters

    plot_clusters(
        model=snakemake.wildcards.model,
        inputs=dict(snakemake.input.items()),
        settings=snakemake.params.settings,
        outputs=dict(snakemake.output.items()),
    )
