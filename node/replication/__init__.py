"""The state that a replicated log produces: machines, sessions and the configuration. See README.md."""
