"""Clauses that checkers write in their evidence and that the report looks for in it, so that both use the same words."""


def answer_clause(node: str | None, process: str, value: str, seconds: float) -> str:
    """Return how a call was answered, such as "n2 answered 'blue' at 0.81 s".

    Args:
        node: the node that answered; None if it is not known.
        process: the client, which stands in the sentence if the node is not known.
        value: the answer's text.
        seconds: when the client received the answer, since the first event of the history.
    """
    who = f"{node} answered" if node is not None else f"{process} received"
    return f"{who} {value} at {seconds:.2f} s"


def call_clause(process: str, f: str, key: str, node: str | None, seconds: float) -> str:
    """Return what a client called, such as "c4's propose for x, sent to n2 at 2.00 s".

    Args:
        process: the client.
        f: the kind of call.
        key: the variable or key.
        node: the node that the client asked; None for any node.
        seconds: when the call began, since the first event of the history.
    """
    return f"{process}'s {f} for {key}, sent to {node or 'any node'} at {seconds:.2f} s"
