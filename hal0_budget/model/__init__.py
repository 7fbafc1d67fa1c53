"""Values and rules. Pure: no input or output, no clock."""
