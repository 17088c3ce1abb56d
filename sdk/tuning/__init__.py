"""The search for settings: spaces, trials, studies."""
