"""Training of networks on images with labels: losses, optimizers, schedules, checkpoints, one process or several."""
