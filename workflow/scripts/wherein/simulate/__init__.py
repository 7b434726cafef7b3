"""Simulated cells of known truth: what is planned, how it is drawn, and how it is imaged."""
