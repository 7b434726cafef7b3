"""vectors: embeddings that were made elsewhere, in the places of download, qc, crop and embed."""


rule import_vectors:
    input:
        fields=ancient("results/catalog/fields.parquet"),
        listed=ancient("results/catalog/vectors.parquet"),
    output:
        files="results/download/{shard}.parquet",
        qc="results/qc/{shard}.parquet",
        cells="results/cells/{shard}.parquet",
        summary="results/summaries/import_vectors/{shard}.json",
    log:
        "logs/import_vectors/{shard}.log",
    benchmark:
        "results/benchmark/import_vectors/{shard}.tsv"
    wildcard_constraints:
        shard=sources_of_kind("vectors"),
    conda:
        "../envs/qc.yaml"
    threads: 1
    resources:
        mem_mb=mb(2000),
        runtime=30,
    params:
        source=vectors_of_source("table", "level"),
        settings={key: config["qc"][key] for key in ("failed_share", "failed_fields")},
        field_words=overrides_of("qc"),
        cell_words=overrides_of("crop"),
        members=shard_digest,
        code=code_digest("import_vectors"),
    message:
        "Judging the rows of {wildcards.shard}"
    script:
        "../scripts/import_vectors.py"


rule embed_vectors:
    input:
        listed=ancient("results/catalog/vectors.parquet"),
        qc="results/qc/{shard}.parquet",
        cells="results/cells/{shard}.parquet",
    output:
        embeddings="results/embeddings/{model}/{shard}.parquet",
        predictions="results/predictions/{model}/{shard}.parquet",
        summary="results/summaries/embed/{model}/{shard}.json",
    log:
        "logs/embed/{model}/{shard}.log",
    benchmark:
        "results/benchmark/embed/{model}/{shard}.tsv"
    wildcard_constraints:
        model=published_models(),
    conda:
        "../envs/evaluate.yaml"
    threads: 1
    resources:
        mem_mb=mb(4000),
        runtime=60,
    params:
        source=vectors_of_source("table", "level", "key", "features", "columns", "probabilities", "space"),
        members=shard_digest,
        code=code_digest("embed_vectors"),
    message:
        "Taking over the vectors of {wildcards.shard} as {wildcards.model}"
    script:
        "../scripts/embed_vectors.py"
