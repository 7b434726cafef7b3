"""What a run costs before it is run: jobs, bytes to fetch, disk and hours. Opens no image."""
