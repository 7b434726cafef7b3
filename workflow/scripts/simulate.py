"""Draw the fields of one shard, and keep their truth apart."""

from wherein.logs import open_log

if __name__ == "__main__":
    open_log(snakemake.log[0])

    from wherein.simulate.shard import simulate_shard

    simulate_shard(
        shard=snakemake.wildcards.shard,
        source=snakemake.params.source,
        fields=snakemake.input.fields,
        images=snakemake.output.images,
        truth=snakemake.output.truth,
        files=snakemake.output.files,
        summary=snakemake.output.summary,
    )
