"""Measures of one field's quality: objects, sharpness, intensities, fit of the channels, near-duplicates."""
