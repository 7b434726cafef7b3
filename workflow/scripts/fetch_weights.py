"""Fetch published weights and check their sha256."""

from wherein.logs import open_log

if __name__ == "__main__":
    open_log(snakemake.log[0])

    from wherein.models.weights import fetch_weights

    fetch_weights(
        name=snakemake.wildcards.weights,
        table=snakemake.input.table,
        source=snakemake.input.get("file") or None,
        target=snakemake.output[0],
    )
