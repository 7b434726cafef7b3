"""Find or fetch the files of one shard's fields and note their sha256."""

from wherein.logs import open_log

if __name__ == "__main__":
    open_log(snakemake.log[0])

    from wherein.download import check_shard

    check_shard(
        shard=snakemake.wildcards.shard,
        fields=snakemake.input.fields,
        files=snakemake.output.files,
        summary=snakemake.output.summary,
        # how files are fetched is no parameter: another timeout fetches nothing again
        settings={**snakemake.config["download"], "cache": snakemake.params.cache, "offline": snakemake.params.offline},
    )
