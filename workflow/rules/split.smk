"""split: the one table of folds that every model shares."""


rule split:
    input:
        fields=ancient("results/catalog/fields.parquet"),
        qc=per_shard("results/qc/{shard}.parquet"),
        cells=per_shard("results/cells/{shard}.parquet"),
    output:
        split=update("results/split/split.parquet"),
        summary="results/summaries/split/run.json",
    log:
        "logs/split/run.log",
    benchmark:
        "results/benchmark/split/run.tsv"
    conda:
        "../envs/split.yaml"
    threads: 1
    resources:
        mem_mb=mb(2000),
        runtime=60,
    params:
        settings=config["split"],
        code=code_digest("split"),
    message:
        "Sharing out genes and fields over folds"
    script:
        "../scripts/split.py"
