"""Store the passed fields of one shard on a coarser grid."""

from wherein.logs import open_log

if __name__ == "__main__":
    open_log(snakemake.log[0])

    from wherein.models.field_store import shrink_shard

    shrink_shard(
        shard=snakemake.wildcards.shard,
        grid=snakemake.wildcards.grid,
        fields=snakemake.input.fields,
        files=snakemake.input.files,
        qc=snakemake.input.qc,
        store=snakemake.output.store,
        summary=snakemake.output.summary,
    )
