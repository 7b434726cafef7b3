"""Probe what one model knows of how fields were prepared, and what the plates give away."""

from wherein.logs import open_log

if __name__ == "__main__":
    open_log(snakemake.log[0])

    from wherein.analysis.leaks import probe_leaks

    probe_leaks(
        model=snakemake.wildcards.model,
        scored=snakemake.input.scored,
        fields=snakemake.input.fields,
        split=snakemake.input.split,
        embeddings=snakemake.input.embeddings,
        settings=snakemake.params.settings,
        neighbours=snakemake.output.neighbours,
        leaks=snakemake.output.leaks,
        summary=snakemake.output.summary,
    )
