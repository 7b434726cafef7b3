"""Draw and measure where one trained network looks."""

from wherein.logs import open_log

if __name__ == "__main__":
    open_log(snakemake.log[0])

    from wherein.models.attend import attend

    attend(
        model=snakemake.wildcards.model,
        weights=snakemake.input.weights,
        scored=snakemake.input.scored,
        predictions=snakemake.input.predictions,
        fields=snakemake.input.fields,
        stores=snakemake.input.stores,
        truth=snakemake.input.get("truth") or [],
        sources=snakemake.params.sources,
        settings=snakemake.params.settings,
        device=snakemake.config["device"],
        threads=snakemake.threads,
        maps=snakemake.output.maps,
        shares=snakemake.output.shares,
        pictures=snakemake.output.pictures,
        summary=snakemake.output.summary,
    )
