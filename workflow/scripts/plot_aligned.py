"""Draw maps that were laid over one another, side by side."""

from wherein.logs import open_log

if __name__ == "__main__":
    open_log(snakemake.log[0])

    from wherein.views.aligned import plot_aligned

    plot_aligned(
        aligned=snakemake.input.aligned,
        vocabulary=snakemake.params.vocabulary,
        settings=snakemake.params.settings,
        figure=snakemake.output.figure,
    )
