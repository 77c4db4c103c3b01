"""A throw-away Matrix deployment on loopback: what the integration tests and the demo run against."""
