"""Faults: breaking a running cluster, with a receipt and a proof for each. See README.md."""
