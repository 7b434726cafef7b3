"""Draw what the scores of one model are made of."""

from wherein.logs import open_log

if __name__ == "__main__":
    open_log(snakemake.log[0])

    from wherein.views.score_figures import plot_scores

    plot_scores(
        model=snakemake.wildcards.model,
        inputs=dict(snakemake.input.items()),
        settings=snakemake.params.settings,
        outputs=dict(snakemake.output.items()),
    )
