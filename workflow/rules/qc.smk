"""qc: which fields are fit for use, and why the others are not."""


rule qc:
    input:
        fields=ancient("results/catalog/fields.parquet"),
        files="results/download/{shard}.parquet",
    output:
        qc="results/qc/{shard}.parquet",
        summary="results/summaries/qc/{shard}.json",
    log:
        "logs/qc/{shard}.log",
    benchmark:
        "results/benchmark/qc/{shard}.tsv"
    wildcard_constraints:
        shard=sources_with_fields(),
    conda:
        "../envs/qc.yaml"
    threads: 1
    resources:
        mem_mb=mb(2000),
        runtime=minutes_per_field(5),
    params:
        settings=source_settings("qc"),
        overrides=overrides_of("qc"),
        members=shard_digest,
        code=code_digest("qc"),
    message:
        "Judging the fields of {wildcards.shard}"
    script:
        "../scripts/qc.py"
