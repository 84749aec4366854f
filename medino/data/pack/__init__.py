"""Decoded once, read often: images at the size that training needs, in shards that give any row at once.

`resize`, `quantise` and `codec` make a row of an image, `shards` keeps and finds rows, `packing` makes a manifest's
shards. Nothing is re-exported here: the readers import `shards`, and `packing` imports the readers.
"""
