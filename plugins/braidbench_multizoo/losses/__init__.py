"""Objectives that add terms to the task's own loss, one family a module."""
