"""catalog: which fields there are, in which version, and which shard works on each."""


rule fetch_release:
    input:
        files=files_of_release,
    output:
        folder=directory("resources/releases/{source}/{release}"),
    log:
        "logs/releases/{source}/{release}.log",
    benchmark:
        "results/benchmark/releases/{source}/{release}.tsv"
    wildcard_constraints:
        source=fetched_sources(),
        release=r"[A-Za-z0-9._-]+",
    retries: 2
    conda:
        "../envs/download.yaml"
    threads: 1
    resources:
        mem_mb=mb(1000),
        runtime=240,
    params:
        source=settings_of_release,
        code=code_digest("fetch_release"),
    message:
        "Fetching what release {wildcards.release} of {wildcards.source} holds"
    script:
        "../scripts/fetch_release.py"


checkpoint catalog:
    input:
        catalog_tables,
    output:
        fields=update("results/catalog/fields.parquet"),
        shards=update("results/catalog/shards.tsv"),
        remote=update("results/catalog/remote.parquet"),
        crops=update("results/catalog/crops.parquet"),
        vectors="results/catalog/vectors.parquet",
        diff=update("results/catalog/release_diff.tsv"),
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
        runtime=240,
    params:
        sources=catalog_settings(config),
        overrides=config["overrides"],
        shard_fields=config["shards"]["fields"],
        code=code_digest("catalog"),
    message:
        "Listing the fields of all sources"
    script:
        "../scripts/catalog.py"
