"""Models: what turns pixels into vectors and predictions, and what scores them."""
