"""The inputs of benches: rows of like length."""

ROWS = 64
TOKENS = 24
WORDS = [
    "the",
    "film",
    "is",
    "a",
    "warm",
    "and",
    "quite",
    "gripping",
    "story",
    "of",
    "an",
    "old",
    "man",
    "who",
    "never",
    "says",
    "what",
    "he",
    "knows",
    "about",
    "the",
    "town",
]


def texts() -> list[str]:
    """Rows of ``TOKENS`` tokens, the two that the tokenizer adds included."""
    numbers = (number % len(WORDS) for number in range(ROWS))
    return [" ".join((WORDS * 2)[start : start + TOKENS - 2]) for start in numbers]
