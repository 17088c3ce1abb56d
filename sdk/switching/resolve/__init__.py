"""From refs and compositions to versions and routes."""
