"""What every HTTP server here shares: roles and tokens, records of calls, errors of one shape, and bodies."""
