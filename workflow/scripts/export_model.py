"""Pack one trained network for the bioimage.io model zoo."""

from wherein.logs import open_log

if __name__ == "__main__":
    open_log(snakemake.log[0])

    from wherein.models.export import export_model

    export_model(
        model=snakemake.wildcards.model,
        weights=snakemake.input.weights,
        card=snakemake.input.card,
        settings=snakemake.params.settings,
        package=snakemake.output.package,
        summary=snakemake.output.summary,
    )
