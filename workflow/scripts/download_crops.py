"""Find the files of one shard's crops and note their sha256."""

from wherein.logs import open_log

if __name__ == "__main__":
    open_log(snakemake.log[0])

    from wherein.exchange.files import check_files

    check_files(
        shard=snakemake.wildcards.shard,
        fields=snakemake.input.fields,
        listed=snakemake.input.listed,
        files=snakemake.output.files,
        summary=snakemake.output.summary,
    )
