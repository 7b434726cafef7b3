"""find: on request, what looks like a protein, a cell or a few examples. Nothing else in the run waits for it."""


rule find_alike:
    input:
        proteins="results/atlas/{model}/proteins.h5ad",
        unit_map="results/atlas/{model}/map.npz",
        fields="results/catalog/fields.parquet",
        qc=per_shard("results/qc/{shard}.parquet"),
        cells=per_shard("results/cells/{shard}.parquet"),
        samples="results/samples/samples.parquet",
        embeddings=per_shard("results/embeddings/{model}/{shard}.parquet"),
        crops=shards_with_crops("results/crops/{shard}.zarr"),
        files=per_shard("results/download/{shard}.parquet"),
        listed="results/catalog/crops.parquet",
        examples=files_of_query,
    output:
        proteins="results/find/{asked}/{model}/proteins.tsv",
        units="results/find/{asked}/{model}/units.tsv",
        trust="results/find/{asked}/{model}/trust.tsv",
        page="results/find/{asked}/{model}/index.html",
        summary="results/summaries/find_alike/{asked}/{model}.json",
    log:
        "logs/find_alike/{asked}/{model}.log",
    benchmark:
        "results/benchmark/find_alike/{asked}/{model}.tsv"
    wildcard_constraints:
        asked=r"[A-Za-z0-9._-]+",
    conda:
        "../envs/find.yaml"
    threads: 1
    resources:
        mem_mb=mb(6000),
        runtime=120,
    params:
        query=config["query"],
        settings=find_settings(config),
        report={key: config["report"][key] for key in ("cell_tile_px", "low_percentile", "high_percentile")},
        level=model_level,
        code=code_digest("find_alike"),
    message:
        "Finding what looks like {params.query} by {wildcards.model}"
    script:
        "../scripts/find_alike.py"
