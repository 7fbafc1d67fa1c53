"""How a result is written."""
