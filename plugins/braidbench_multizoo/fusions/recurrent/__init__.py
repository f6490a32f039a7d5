"""Recurrent fusions: models that read all modalities step by step and fuse them on the way."""
