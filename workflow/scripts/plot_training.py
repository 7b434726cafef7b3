"""Draw the training of one network, and how well its attention maps point."""

from wherein.logs import open_log

if __name__ == "__main__":
    open_log(snakemake.log[0])

    from wherein.views.training_figures import plot_training

    plot_training(
        model=snakemake.wildcards.model,
        inputs=dict(snakemake.input.items()),
        settings=snakemake.params.settings,
        outputs=dict(snakemake.output.items()),
    )
