"""segment: the outline of every nucleus and every cell, and how far each can be trusted."""


rule segment:
    input:
        fields=ancient("results/catalog/fields.parquet"),
        files="results/download/{shard}.parquet",
        qc="results/qc/{shard}.parquet",
    output:
        masks=directory("results/masks/{shard}.zarr"),
        quality="results/segmentation/{shard}.parquet",
        summary="results/summaries/segment/{shard}.json",
    log:
        "logs/segment/{shard}.log",
    benchmark:
        "results/benchmark/segment/{shard}.tsv"
    wildcard_constraints:
        shard=sources_outlined(by_network=False),
    conda:
        "../envs/segment.yaml"
    threads: 1
    resources:
        mem_mb=mb(3000),
        runtime=minutes_per_field(10),
    params:
        settings=segment_settings,
        folder=folder_of_table,
        labels=labels_elsewhere,
        members=shard_digest,
        code=code_digest("segment"),
        method_code=segment_code,
    message:
        "Outlining the cells of {wildcards.shard}"
    script:
        "../scripts/segment.py"


rule segment_network:
    input:
        fields=ancient("results/catalog/fields.parquet"),
        files="results/download/{shard}.parquet",
        qc="results/qc/{shard}.parquet",
        weights=segment_weights,
    output:
        masks=directory("results/masks/{shard}.zarr"),
        quality="results/segmentation/{shard}.parquet",
        summary="results/summaries/segment/{shard}.json",
    log:
        "logs/segment/{shard}.log",
    benchmark:
        "results/benchmark/segment/{shard}.tsv"
    wildcard_constraints:
        shard=sources_outlined(by_network=True),
    conda:
        "../envs/segment_network.yaml"
    threads: 4
    resources:
        mem_mb=mb(8000),
        runtime=minutes_per_field(30),
        gpu=0 if config["device"] == "cpu" else 1,
    params:
        settings=segment_settings,
        folder=folder_of_table,
        labels=labels_elsewhere,
        device=config["device"],
        members=shard_digest,
        code=code_digest("segment_network"),
        method_code=segment_code,
    message:
        "Outlining the cells of {wildcards.shard} with a network"
    script:
        "../scripts/segment_network.py"
