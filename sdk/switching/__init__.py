"""Switching: what is loaded on one base, and forward passes over rows of any mix of it."""
