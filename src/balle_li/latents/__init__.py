"""Ways of coding latents: likelihood in training, integer tables when it ends, encode and decode, side by side in one file.

What such a file writes of a stream are sections; the tags from 16 on are the container's.
"""

from collections.abc import Mapping
from enum import IntEnum

from balle_li.errors import BitstreamError

Sections = dict[int, bytes]


class Section(IntEnum):
    """Tags 1 to 15. docs/bitstream.md says what each holds."""

    LATENTS = 1
    LATENTS_ESCAPED = 2
    HYPER_LATENTS = 3
    HYPER_LATENTS_ESCAPED = 4
    QUALITY_MAP = 5
    SYMBOL_CHECKSUM = 6


def needed(sections: Mapping[int, bytes], tag: Section) -> bytes:
    """The content of a section. Raises BitstreamError when there is none."""
    if tag not in sections:
        raise BitstreamError(f"the stream has no {tag.name.lower()}; it is damaged")
    return sections[tag]


def present(sections: Sections) -> Sections:
    """The sections that have content."""
    return {tag: content for tag, content in sections.items() if content}
