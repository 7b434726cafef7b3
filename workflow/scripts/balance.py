"""Check that no field and no cell was lost on the way."""

from wherein.logs import open_log

if __name__ == "__main__":
    open_log(snakemake.log[0])

    from wherein.balance import write_balance

    write_balance(
        fields=snakemake.input.fields,
        left_out=snakemake.input.left_out,
        files=snakemake.input.files,
        qc=snakemake.input.qc,
        cells=snakemake.input.cells,
        balance=snakemake.output.balance,
        summary=snakemake.output.summary,
    )
