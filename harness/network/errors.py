"""What goes wrong with the proxy, as exceptions."""

from cluster.errors import ConsensusError


class NetworkError(ConsensusError):
    """The proxy could not do what was requested. The message says why, and what to do."""


class ProxyGone(NetworkError):
    """The proxy has ended or does not reply, so no message passes any more: the run shows nothing from here on."""
