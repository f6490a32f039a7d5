"""Declarations of the datasets, one module a research area (*Foundations of Multisensory AI*, 7.2.1)."""
