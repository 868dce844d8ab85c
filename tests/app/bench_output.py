"""What several tests of the benchmark read out of what it prints."""

import re


def tables_of(text: str) -> dict[str, list[str]]:
    """The lines of each table by its protocol."""
    blocks = {"raw": [], "corrected": []}
    kind = None
    for line in text.splitlines():
        head = re.match(r"(raw|corrected): ", line)
        kind = head[1] if head else kind if line else None
        if kind:
            blocks[kind].append(line)
    return blocks
