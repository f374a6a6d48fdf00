"""Tiles, tile quality, the sample tissue of the project, and the writing of synthetic data sets."""
