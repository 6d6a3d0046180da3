"""Training: the loop, sampling and augmentation; the gallery encoder, and query encoders for its space."""
