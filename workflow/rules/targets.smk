"""Targets that end after one stage. `--until` cannot: before the catalog is written it knows of no shard."""


localrules:
    all_download,
    all_qc,
    all_segment,
    all_crop,
    all_index,
    all_train,
    all_packages,
    all_export,
    all_embed,
    all_aligned,
    all_aggregates,
    find,


rule all_download:
    input:
        per_shard("results/download/{shard}.parquet"),
        every_weights_file(),
        gene_set_files(config).values(),


rule all_qc:
    input:
        per_shard("results/qc/{shard}.parquet"),


rule all_segment:
    input:
        outlined_shards("results/masks/{shard}.zarr"),


rule all_crop:
    input:
        per_shard("results/cells/{shard}.parquet"),


rule all_index:
    input:
        "results/index",
        "results/statistics/crops.tsv",


rule all_train:
    input:
        trained("results/models/{model}/weights.pt"),


rule all_packages:
    input:
        packages,


rule all_export:
    input:
        exports,


rule all_embed:
    input:
        per_model_and_shard("results/embeddings/{model}/{shard}.parquet"),


rule all_aligned:
    input:
        aligned_figures,


rule all_aggregates:
    input:
        evaluated("results/aggregates/{model}"),


rule find:
    input:
        answers,
