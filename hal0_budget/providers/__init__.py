"""What a call costs: replies of providers, and prices."""
