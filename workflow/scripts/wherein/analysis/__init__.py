"""What follows from embeddings: maps, clusters, enrichment, heterogeneity."""
