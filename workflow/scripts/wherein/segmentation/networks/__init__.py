"""Networks that outline nuclei and cells: their training, and what is made of their maps. torch is imported here."""
