"""Text as a value of the query language. Apart from the parser, which takes longer to import than a query to run."""


def quote(text: str) -> str:
    """Return a text as the query language writes it, for a query that a program puts together.

    Args:
        text: Any text that the language allows: no control characters.

    Examples:
        >>> "origin.name = " + quote("ann's study")
        "origin.name = 'ann''s study'"
    """
    return "'" + text.replace("'", "''") + "'"
