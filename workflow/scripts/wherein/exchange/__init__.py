"""In and out: crops made elsewhere become a source of a run, and a run's crops leave it in others' layouts."""
