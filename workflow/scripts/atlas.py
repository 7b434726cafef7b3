"""Put proteins and cells on one map, cluster the proteins, and tell which moved since the last release."""

from wherein.logs import open_log

if __name__ == "__main__":
    open_log(snakemake.log[0])

    from wherein.analysis.atlas import build_atlas

    build_atlas(
        model=snakemake.wildcards.model,
        level=snakemake.params.level,
        fields=snakemake.input.fields,
        qc=snakemake.input.qc,
        cells=snakemake.input.cells,
        samples=snakemake.input.samples,
        embeddings=snakemake.input.embeddings,
        onto=snakemake.input.get("onto") or None,
        quality=snakemake.input.get("quality") or [],
        settings=snakemake.params.settings,
        proteins=snakemake.output.proteins,
        units=snakemake.output.units,
        clusters=snakemake.output.clusters,
        unit_map=snakemake.output.unit_map,
        history=snakemake.output.history,
        moved=snakemake.output.moved,
        summary=snakemake.output.summary,
    )
