"""Reading crops and fields for models: which cells, in which order, on which scale. Without torch."""
