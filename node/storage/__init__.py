"""The durable state of a node, on SQLite. See README.md."""
