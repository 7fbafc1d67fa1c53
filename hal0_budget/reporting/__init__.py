"""Reports of what was spent, and simulations of other caps."""
