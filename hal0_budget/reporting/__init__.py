"""What was spent, and what other caps would have done."""
