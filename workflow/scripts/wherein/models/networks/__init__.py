"""Networks that tell locations from images: one file each, and the registry of their names."""
