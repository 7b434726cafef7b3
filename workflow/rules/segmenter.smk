"""train_segmenter: networks that outline nuclei and cells, trained from masks."""


rule train_segmenter:
    input:
        table=training_table,
    output:
        weights="results/segmenters/{segmenter}/weights.npz",
        card="results/segmenters/{segmenter}/card.md",
        history="results/segmenters/{segmenter}/history.tsv",
        summary="results/summaries/train_segmenter/{segmenter}.json",
    log:
        "logs/train_segmenter/{segmenter}.log",
    benchmark:
        "results/benchmark/train_segmenter/{segmenter}.tsv"
    conda:
        "../envs/segment_network.yaml"
    threads: 1
    resources:
        mem_mb=mb(6000),
        runtime=720,
        gpu=0 if config["device"] == "cpu" else 1,
    params:
        settings=segmenter_settings,
        device=config["device"],
        code=code_digest("train_segmenter"),
    message:
        "Training the segmenter {wildcards.segmenter}"
    script:
        "../scripts/train_segmenter.py"
