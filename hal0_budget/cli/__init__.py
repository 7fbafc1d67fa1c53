"""The command line: parses arguments, calls the account, and renders its result."""
