"""Renders results as text, JSON, HTML, CSV, Markdown or a monitoring line."""
