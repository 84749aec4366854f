"""Bytes to pixels: manifest, readers, intensity, splits, sampler, datasets, phantom."""
