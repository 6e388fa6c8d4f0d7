"""Style sheets and scripts, as files of the packages; they need no login."""

from collections.abc import Sequence
from importlib.resources import files

from starlette.requests import Request
from starlette.responses import Response

from daemon.charts.chart import stylesheet
from daemon.web.entry import Entry
from daemon.web.problems import NotFoundError

STATIC_PATH = "/static/{name}"
TYPES = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}


def static_entries() -> Sequence[Entry]:
    """Return the entry of the static files, all read at the start."""
    folder = files("daemon.web") / "static"
    found = {
        item.name: (item.read_bytes(), kind)
        for item in folder.iterdir()
        if (kind := TYPES.get(item.name[item.name.rfind(".") :])) is not None
    }

    found["charts.css"] = (stylesheet().encode(), TYPES[".css"])

    found["charts.css"] = (stylesheet().encode(), TYPES[".css"])

    def static_file(request: Request) -> Response:
        name = request.path_params["name"]
        if name not in found:
            raise NotFoundError("there is no such file")
        content, kind = found[name]
        return Response(content, media_type=kind)

    return [Entry(STATIC_PATH, static_file, None, summary="A style sheet or script.")]
