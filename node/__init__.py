"""One node: a process that runs a consensus algorithm on a real disk and real sockets."""
