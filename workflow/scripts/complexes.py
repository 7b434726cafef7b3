"""Ask whether proteins of a complex look alike, and which gene sets can be told apart."""

from wherein.logs import open_log

if __name__ == "__main__":
    open_log(snakemake.log[0])

    from wherein.analysis.complexes import ask_complexes

    ask_complexes(
        model=snakemake.wildcards.model,
        proteins=snakemake.input.proteins,
        settings=snakemake.params.settings,
        outputs={name: path for name, path in snakemake.output.items() if name != "summary"},
        summary=snakemake.output.summary,
    )
