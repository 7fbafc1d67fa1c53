"""The command line: parse, ask the account, hand a result to the renderer."""
