"""Bring the crops of one shard into a store and the ledger."""

from wherein.logs import open_log

if __name__ == "__main__":
    open_log(snakemake.log[0])

    from wherein.exchange.importing import import_shard

    import_shard(
        shard=snakemake.wildcards.shard,
        fields=snakemake.input.fields,
        listed=snakemake.input.listed,
        qc=snakemake.input.qc,
        settings=snakemake.params.settings,
        overrides=snakemake.params.overrides,
        crops=snakemake.output.crops,
        cells=snakemake.output.cells,
        summary=snakemake.output.summary,
    )
