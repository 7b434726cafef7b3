"""Formats of images: what each needs to give its planes."""
