"""Draw what is told of the cells of a model."""

from wherein.logs import open_log

if __name__ == "__main__":
    open_log(snakemake.log[0])

    from wherein.views.single_cells import plot_single_cells

    plot_single_cells(
        model=snakemake.wildcards.model,
        inputs=dict(snakemake.input.items()),
        settings=snakemake.params.settings,
        outputs=dict(snakemake.output.items()),
    )
