"""Loaders: source files → columns by split. Imported only when a dataset is prepared."""
