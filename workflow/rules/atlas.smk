"""atlas: proteins and cells on one map, the clusters they form, and what moved since the last release."""


rule atlas:
    input:
        fields="results/catalog/fields.parquet",
        qc=per_shard("results/qc/{shard}.parquet"),
        cells=per_shard("results/cells/{shard}.parquet"),
        samples="results/samples/samples.parquet",
        embeddings=per_shard("results/embeddings/{model}/{shard}.parquet"),
        onto=saved_map,
    output:
        proteins="results/atlas/{model}/proteins.h5ad",
        units="results/atlas/{model}/units.parquet",
        clusters="results/atlas/{model}/clusters.tsv",
        unit_map="results/atlas/{model}/map.npz",
        # a table that is added to: what it says of other releases can be made again from them only
        history=update("results/atlas/{model}/history.parquet"),
        moved="results/atlas/{model}/moved.tsv",
        summary="results/summaries/atlas/{model}.json",
    log:
        "logs/atlas/{model}.log",
    benchmark:
        "results/benchmark/atlas/{model}.tsv"
    conda:
        "../envs/atlas.yaml"
    threads: 2
    resources:
        mem_mb=mb(8000),
        runtime=240,
    params:
        settings=atlas_settings(config),
        level=model_level,
        code=code_digest("atlas"),
    message:
        "Mapping and clustering the proteins by {wildcards.model}"
    script:
        "../scripts/atlas.py"
