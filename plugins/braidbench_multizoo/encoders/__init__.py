"""Encoders: one modality → a vector (B, D) or a sequence (B, T, D)."""
