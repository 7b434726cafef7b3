"""download: every channel's file, found or fetched, and checked. A simulated source draws its pixels here."""


rule download:
    input:
        fields=ancient("results/catalog/fields.parquet"),
    output:
        files="results/download/{shard}.parquet",
        summary="results/summaries/download/{shard}.json",
    log:
        "logs/download/{shard}.log",
    benchmark:
        "results/benchmark/download/{shard}.tsv"
    wildcard_constraints:
        shard=sources_of_kind("table", "hpa", "opencell"),
    retries: 2
    conda:
        "../envs/download.yaml"
    threads: 1
    resources:
        mem_mb=mb(2000),
        runtime=minutes_per_field(30),
    params:
        members=shard_digest,
        cache=config["download"]["cache"],
        offline=config["download"]["offline"],
        code=code_digest("download"),
    message:
        "Getting and checking the files of {wildcards.shard}"
    script:
        "../scripts/download.py"


rule simulate:
    input:
        fields=ancient("results/catalog/fields.parquet"),
    output:
        files="results/download/{shard}.parquet",
        images=directory("resources/images/{shard}"),
        truth=directory("results/truth/{shard}"),
        summary="results/summaries/download/{shard}.json",
    log:
        "logs/download/{shard}.log",
    benchmark:
        "results/benchmark/download/{shard}.tsv"
    wildcard_constraints:
        shard=sources_of_kind("simulated"),
    conda:
        "../envs/download.yaml"
    threads: 1
    resources:
        mem_mb=mb(2000),
        runtime=minutes_per_field(5),
    params:
        source=source_config,
        members=shard_digest,
        code=code_digest("simulate"),
    message:
        "Drawing the fields of {wildcards.shard}"
    script:
        "../scripts/simulate.py"
