"""catalog: which fields there are, in which version, and which shard works on each."""


def tables(wildcards):
    """An input: the tables that sources and curators write, and the files of image releases."""
    named = [file for source in config["sources"].values() for file in release_files(source)]
    return named + ([config["overrides"]] if config["overrides"] else [])


checkpoint catalog:
    input:
        tables,
    output:
        fields=update("results/catalog/fields.parquet"),
        shards=update("results/catalog/shards.tsv"),
        diff="results/catalog/release_diff.tsv",
        summary="results/summaries/catalog/run.json",
    log:
        "logs/catalog/run.log",
    benchmark:
        "results/benchmark/catalog/run.tsv"
    conda:
        "../envs/catalog.yaml"
    threads: 1
    resources:
        mem_mb=mb(2000),
        runtime=60,
    params:
        sources=catalog_settings(config),
        overrides=config["overrides"],
        shard_fields=config["shards"]["fields"],
        code=code_digest("catalog"),
    message:
        "Listing the fields of all sources"
    script:
        "../scripts/catalog.py"
