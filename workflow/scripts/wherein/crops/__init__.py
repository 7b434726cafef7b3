"""The pixels around every cell, their store, and the ledger."""
