"""Simple models of the machines of a replicated log, by which answers are judged. They share no code with the node's machines."""
