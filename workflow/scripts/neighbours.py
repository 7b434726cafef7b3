"""Find the nearest proteins of every protein, and the nearest cells or fields of typical ones."""

from wherein.logs import open_log

if __name__ == "__main__":
    open_log(snakemake.log[0])

    from wherein.analysis.neighbours import find_neighbours

    find_neighbours(
        model=snakemake.wildcards.model,
        level=snakemake.params.level,
        proteins=snakemake.input.proteins,
        unit_map=snakemake.input.unit_map,
        fields=snakemake.input.fields,
        qc=snakemake.input.qc,
        cells=snakemake.input.cells,
        samples=snakemake.input.samples,
        embeddings=snakemake.input.embeddings,
        settings=snakemake.params.settings,
        neighbours=snakemake.output.neighbours,
        unit_neighbours=snakemake.output.unit_neighbours,
        summary=snakemake.output.summary,
    )
