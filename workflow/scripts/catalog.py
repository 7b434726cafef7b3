"""List the fields of all sources, give new versions their shards, and say what changed."""

from wherein.logs import open_log

if __name__ == "__main__":
    open_log(snakemake.log[0])

    from wherein.catalog import build_catalog

    build_catalog(
        sources=snakemake.params.sources,
        overrides=snakemake.params.overrides,
        shard_fields=snakemake.params.shard_fields,
        fields=snakemake.output.fields,
        shards=snakemake.output.shards,
        diff=snakemake.output.diff,
        summary=snakemake.output.summary,
        remote=snakemake.output.remote,
        crops=snakemake.output.crops,
        vectors=snakemake.output.vectors,
        # how servers are asked is no parameter: another timeout lists nothing anew
        download=snakemake.config["download"],
    )
