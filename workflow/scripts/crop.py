"""Cut out the cells of one shard and write their ledger."""

from wherein.logs import open_log

if __name__ == "__main__":
    open_log(snakemake.log[0])

    from wherein.crops.shard import crop_shard

    crop_shard(
        shard=snakemake.wildcards.shard,
        fields=snakemake.input.fields,
        files=snakemake.input.files,
        qc=snakemake.input.qc,
        masks=snakemake.input.masks,
        settings=snakemake.params.settings,
        overrides=snakemake.params.overrides,
        crops=snakemake.output.crops,
        cells=snakemake.output.cells,
        summary=snakemake.output.summary,
    )
