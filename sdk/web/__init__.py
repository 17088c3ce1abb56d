"""What every HTTP server here shares: roles and tokens, records of calls, errors, bodies, and its OpenAPI document."""
