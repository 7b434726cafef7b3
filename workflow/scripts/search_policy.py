"""Search a policy of augmentation for one network, or go on with a search that was stopped."""

from wherein.logs import open_log

if __name__ == "__main__":
    open_log(snakemake.log[0])

    from wherein.models.search_policy import search_policy

    search_policy(
        model=snakemake.wildcards.model,
        table=snakemake.input.table,
        stores=snakemake.input.stores,
        teacher=snakemake.input.get("teacher") or [],
        start=snakemake.input.get("start") or None,
        settings=snakemake.params.settings,
        search=snakemake.params.search,
        # no parameters of the rule: neither another machine nor another time between saves searches anew
        device=snakemake.config["device"],
        threads=snakemake.threads,
        checkpoint_minutes=snakemake.config["models"][snakemake.wildcards.model]["training"]["checkpoint_minutes"],
        state=snakemake.params.state,
        policy=snakemake.output.policy,
        trials=snakemake.output.trials,
        summary=snakemake.output.summary,
    )
