"""biology: what the clusters have in common, and which proteins differ from cell to cell."""


rule fetch_gene_sets:
    input:
        [],
    output:
        "resources/gene_sets/fetched/{gene_sets}.gmt",
    log:
        "logs/gene_sets/{gene_sets}.log",
    benchmark:
        "results/benchmark/gene_sets/{gene_sets}.tsv"
    wildcard_constraints:
        gene_sets=fetched_gene_sets(),
    conda:
        "../envs/download.yaml"
    threads: 1
    resources:
        mem_mb=mb(1000),
        runtime=60,
    params:
        source=source_of_gene_sets,
        server=config["biology"]["gene_set_server"],
        code=code_digest("fetch_gene_sets"),
    message:
        "Fetching and checking the gene sets {wildcards.gene_sets}"
    script:
        "../scripts/fetch_gene_sets.py"


rule enrich:
    input:
        proteins="results/atlas/{model}/proteins.h5ad",
        gene_sets=gene_set_files(config).values(),
    output:
        enrichment="results/biology/{model}/enrichment.tsv",
        summary="results/summaries/enrich/{model}.json",
    log:
        "logs/enrich/{model}.log",
    benchmark:
        "results/benchmark/enrich/{model}.tsv"
    conda:
        "../envs/biology.yaml"
    threads: 1
    resources:
        mem_mb=mb(4000),
        runtime=120,
    params:
        settings=biology_settings(config),
        code=code_digest("enrich"),
    message:
        "Asking what the clusters of {wildcards.model} have in common"
    script:
        "../scripts/enrich.py"


rule heterogeneity:
    input:
        fields="results/catalog/fields.parquet",
        qc=per_shard("results/qc/{shard}.parquet"),
        quality=outlined_shards("results/segmentation/{shard}.parquet"),
        cells=per_shard("results/cells/{shard}.parquet"),
        samples="results/samples/samples.parquet",
        embeddings=per_shard("results/embeddings/{model}/{shard}.parquet"),
        predictions="results/evaluation/{model}/predictions.parquet",
    output:
        heterogeneity="results/biology/{model}/heterogeneity.tsv",
        fields="results/biology/{model}/heterogeneity_fields.tsv",
        samples="results/biology/{model}/heterogeneity_samples.tsv",
        variance="results/biology/{model}/variance.tsv",
        compartments="results/biology/{model}/compartments.tsv",
        compartment_cells="results/biology/{model}/compartment_cells.parquet",
        published="results/biology/{model}/published_variation.tsv",
        summary="results/summaries/heterogeneity/{model}.json",
    log:
        "logs/heterogeneity/{model}.log",
    benchmark:
        "results/benchmark/heterogeneity/{model}.tsv"
    conda:
        "../envs/biology.yaml"
    threads: 1
    resources:
        mem_mb=mb(4000),
        runtime=120,
    params:
        settings=biology_settings(config),
        words=config["atlas"]["vocabulary"],
        code=code_digest("heterogeneity"),
    message:
        "Asking which proteins differ from cell to cell by {wildcards.model}"
    script:
        "../scripts/heterogeneity.py"


rule cell_labels:
    input:
        fields="results/catalog/fields.parquet",
        cells=per_shard("results/cells/{shard}.parquet"),
        samples="results/samples/samples.parquet",
        predictions="results/evaluation/{model}/predictions.parquet",
    output:
        labels="results/biology/{model}/cell_labels.tsv",
        exclusive="results/biology/{model}/exclusive.tsv",
        summary="results/summaries/cell_labels/{model}.json",
    log:
        "logs/cell_labels/{model}.log",
    benchmark:
        "results/benchmark/cell_labels/{model}.tsv"
    conda:
        "../envs/biology.yaml"
    threads: 1
    resources:
        mem_mb=mb(2000),
        runtime=60,
    params:
        settings=biology_settings(config),
        code=code_digest("cell_labels"),
    message:
        "Comparing the labels of single cells with those of their images by {wildcards.model}"
    script:
        "../scripts/cell_labels.py"
