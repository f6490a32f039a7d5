"""Fusions: representations → one representation."""
