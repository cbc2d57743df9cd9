"""Any command that listens on ports, described by a TOML file and a client class. See ../README.md."""
