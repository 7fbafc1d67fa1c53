"""What a call costs: responses of providers, and price lists."""
