"""Programs that build the documentation, the demo and the speed table."""
