"""What the plugin declares, by family; importing it imports nothing but specs."""
