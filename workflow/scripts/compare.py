"""Compare all models of the run."""

from wherein.logs import open_log

if __name__ == "__main__":
    open_log(snakemake.log[0])

    from wherein.views.comparison import compare_models

    compare_models(
        inputs=dict(snakemake.input.items()),
        models=snakemake.params.models,
        evaluation=snakemake.params.evaluation,
        settings=snakemake.params.settings,
        outputs=dict(snakemake.output.items()),
        summary=snakemake.output.summary,
    )
