"""The picture in place of a film that cannot be shown, with the reason in words."""

import textwrap

from markupsafe import escape

_WIDTH = 480
_LINE = 46
_PITCH = 24
_MOST_LINES = 9


def placeholder(message: str) -> str:
    """Return an SVG picture that shows a sentence.

    A browser shows it in place of a film, although the answer has the status of an error.
    """
    lines = textwrap.wrap(message[:1].upper() + message[1:], _LINE, max_lines=_MOST_LINES)
    height = max(_WIDTH, (len(lines) + 6) * _PITCH)
    top = (height - len(lines) * _PITCH) / 2 + _PITCH
    words = "".join(
        f'<text x="{_WIDTH / 2:g}" y="{top + number * _PITCH:g}">{escape(line)}</text>'
        for number, line in enumerate(lines)
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" '
        f'width="{_WIDTH}" height="{height}" role="img">'
        f'<rect width="{_WIDTH}" height="{height}" fill="#15191e"/>'
        '<path d="M200 60h80v60h-80z M200 120l80-60" fill="none" stroke="#5b6874" '
        'stroke-width="3"/>'
        '<g fill="#c3ccd5" font-family="system-ui, sans-serif" font-size="17" '
        f'text-anchor="middle">{words}</g></svg>'
    )
