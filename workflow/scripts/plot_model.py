"""Draw the maps, scores, clusters and findings of one model."""

from wherein.logs import open_log

if __name__ == "__main__":
    open_log(snakemake.log[0])

    from wherein.views.model import plot_model

    plot_model(
        model=snakemake.wildcards.model,
        level=snakemake.params.level,
        inputs=dict(snakemake.input.items()),
        settings=snakemake.params.settings,
        outputs=dict(snakemake.output.items()),
    )
