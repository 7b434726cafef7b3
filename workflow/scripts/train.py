"""Train one network, or go on with a training that was stopped."""

from wherein.logs import open_log

if __name__ == "__main__":
    open_log(snakemake.log[0])

    from wherein.models.train import train_model

    train_model(
        model=snakemake.wildcards.model,
        table=snakemake.input.table,
        stores=snakemake.input.stores,
        teacher=snakemake.input.get("teacher") or [],
        settings=snakemake.params.settings,
        device=snakemake.params.device,
        threads=snakemake.threads,
        state=snakemake.params.state,
        weights=snakemake.output.weights,
        history=snakemake.output.history,
        thresholds=snakemake.output.thresholds,
        card=snakemake.output.card,
        summary=snakemake.output.summary,
    )
