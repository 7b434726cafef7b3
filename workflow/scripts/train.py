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
        start=snakemake.input.get("start") or None,
        settings=snakemake.params.settings,
        # no parameters of the rule: neither another machine nor another time between saves trains anew
        device=snakemake.config["device"],
        threads=snakemake.threads,
        checkpoint_minutes=snakemake.config["models"][snakemake.wildcards.model]["training"]["checkpoint_minutes"],
        state=snakemake.params.state,
        weights=snakemake.output.weights,
        history=snakemake.output.history,
        card=snakemake.output.card,
        summary=snakemake.output.summary,
    )
