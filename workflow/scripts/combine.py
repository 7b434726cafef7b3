"""Put the models of one ensemble together."""

from wherein.logs import open_log

if __name__ == "__main__":
    open_log(snakemake.log[0])

    from wherein.models.ensemble import fit_ensemble

    fit_ensemble(
        model=snakemake.wildcards.model,
        table=snakemake.input.table,
        predictions=snakemake.input.predictions,
        settings=snakemake.params.settings,
        weights=snakemake.output.weights,
        card=snakemake.output.card,
        summary=snakemake.output.summary,
    )
