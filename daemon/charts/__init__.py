"""Charts as SVG with classes and a table behind each, for the web pages and the dashboard."""
