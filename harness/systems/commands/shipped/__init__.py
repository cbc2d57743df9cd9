"""The systems that are shipped with their TOML files and clients. See ../../README.md."""
