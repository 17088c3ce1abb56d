"""The dashboard: a JSON API over the registry, and the pages that show it in a browser."""
