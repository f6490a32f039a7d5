"""Fusions by attention: the multimodal transformer and the early- and late-fusion transformers."""
