"""import: crops that were made elsewhere, in the places of download, qc, segment and crop."""


rule download_crops:
    input:
        fields=ancient("results/catalog/fields.parquet"),
        listed=ancient("results/catalog/crops.parquet"),
    output:
        files="results/download/{shard}.parquet",
        summary="results/summaries/download/{shard}.json",
    log:
        "logs/download/{shard}.log",
    benchmark:
        "results/benchmark/download/{shard}.tsv"
    wildcard_constraints:
        shard=sources_of_kind("crops"),
    conda:
        "../envs/download.yaml"
    threads: 1
    resources:
        mem_mb=mb(2000),
        runtime=minutes_per_field(5),
    params:
        members=shard_digest,
        code=code_digest("download_crops"),
    message:
        "Checking the files of crops of {wildcards.shard}"
    script:
        "../scripts/download_crops.py"


rule qc_crops:
    input:
        fields=ancient("results/catalog/fields.parquet"),
        listed=ancient("results/catalog/crops.parquet"),
        files="results/download/{shard}.parquet",
    output:
        qc="results/qc/{shard}.parquet",
        summary="results/summaries/qc/{shard}.json",
    log:
        "logs/qc/{shard}.log",
    benchmark:
        "results/benchmark/qc/{shard}.tsv"
    wildcard_constraints:
        shard=sources_of_kind("crops"),
    conda:
        "../envs/qc.yaml"
    threads: 1
    resources:
        mem_mb=mb(3000),
        runtime=minutes_per_field(5),
    params:
        settings={key: config["qc"][key] for key in ("failed_share", "failed_fields")},
        overrides=overrides_of("qc"),
        members=shard_digest,
        code=code_digest("qc_crops"),
    message:
        "Judging the crops of {wildcards.shard}"
    script:
        "../scripts/qc_crops.py"


rule import_crops:
    input:
        fields=ancient("results/catalog/fields.parquet"),
        listed=ancient("results/catalog/crops.parquet"),
        files="results/download/{shard}.parquet",
        qc="results/qc/{shard}.parquet",
    output:
        crops=directory("results/crops/{shard}.zarr"),
        cells="results/cells/{shard}.parquet",
        summary="results/summaries/import_crops/{shard}.json",
    log:
        "logs/import_crops/{shard}.log",
    benchmark:
        "results/benchmark/import_crops/{shard}.tsv"
    wildcard_constraints:
        shard=sources_of_kind("crops"),
    conda:
        "../envs/crop.yaml"
    threads: 1
    resources:
        mem_mb=mb(3000),
        runtime=minutes_per_field(5),
    params:
        settings=import_settings,
        overrides=overrides_of("crop"),
        members=shard_digest,
        code=code_digest("import_crops"),
    message:
        "Importing the crops of {wildcards.shard}"
    script:
        "../scripts/import_crops.py"
