"""Find the proteins and cells that look most like a protein, a cell, or a few examples."""

from wherein.logs import open_log

if __name__ == "__main__":
    open_log(snakemake.log[0])

    from wherein.views.find_page import find_alike

    find_alike(
        query=snakemake.params.query,
        model=snakemake.wildcards.model,
        level=snakemake.params.level,
        inputs=dict(snakemake.input.items()),
        settings=snakemake.params.settings,
        report=snakemake.params.report,
        outputs={name: path for name, path in snakemake.output.items() if name != "summary"},
        summary=snakemake.output.summary,
    )
