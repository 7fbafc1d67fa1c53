"""All that touches the disk, and nothing that knows the command line."""
