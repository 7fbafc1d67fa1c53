"""The stores: where the budgets, rows and holds of personas are kept."""

# Seconds that a recording waits for others.
DEFAULT_TIMEOUT = 5.0
