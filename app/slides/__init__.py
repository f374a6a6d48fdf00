"""Whole slides: reading them at any scale and sampling tiles from them."""
