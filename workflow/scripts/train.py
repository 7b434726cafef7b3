"""Train one network, or go on with a training that was stopped."""

from wherein.logs import open_log

if __name__ == "__main__":
    open_log(snakemake.log[0])

    from wherein.models.training.together import train_together

    training = snakemake.config["models"][snakemake.wildcards.model]["training"]
    train_together(
        # no parameters of the rule: neither another machine nor another time between saves trains anew
        processes=training["processes"],
        launcher=training["launcher"],
        device=snakemake.config["device"],
        threads=snakemake.threads,
        checkpoint_minutes=training["checkpoint_minutes"],
        model=snakemake.wildcards.model,
        table=snakemake.input.table,
        stores=list(snakemake.input.stores),
        teacher=list(snakemake.input.get("teacher") or []),
        start=snakemake.input.get("start") or None,
        settings=snakemake.params.settings,
        state=snakemake.params.state,
        weights=snakemake.output.weights,
        history=snakemake.output.history,
        card=snakemake.output.card,
        summary=snakemake.output.summary,
    )
