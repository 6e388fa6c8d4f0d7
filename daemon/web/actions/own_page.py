"""Pages of this site as ways back: a path and a query that lead to no other site."""

import re
from urllib.parse import quote, urlsplit

MAX_LENGTH = 1000
_ALLOWED = re.compile(r"[A-Za-z0-9._~!$&'()*+,;=:@%/?-]*")


def own_page(text: str) -> str:
    """Return the path and query of a page of this site, without its first slash; else ''.

    A link to it begins with the relative path to /, so that no text leads to another site.
    """
    page = text.lstrip("/")
    if len(page) > MAX_LENGTH or not _ALLOWED.fullmatch(page) or "%2e" in page.lower():
        return ""
    return "" if ".." in urlsplit(f"/{page}").path.split("/") else page


def page_of(path: str, query: str) -> str:
    """Return the page of a request, as `own_page` does.

    The query of a search is left out, because it may be the number of a patient.
    """
    page = quote(path.lstrip("/"), safe="/@:")
    is_search = page in ("", "studies")
    return own_page(f"{page}?{query}" if query and not is_search else page)
