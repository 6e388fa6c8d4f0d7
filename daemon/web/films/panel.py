"""The contents of the panel that shows a film, for the template `films/panel.html`."""

from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import quote, urlencode

from daemon.web.films.film import PICTURES, absence_of
from daemon.web.site import Site
from dicom_io.finding_text import odds_over_threshold, probability_and_threshold
from storage.records import FindingRecord, Instance, ObjectKind, ObjectRecord

_HEATMAPS = frozenset({ObjectKind.HEATMAP, ObjectKind.HEATMAP_JPEG})
_NAMES: Mapping[ObjectKind, str] = {
    ObjectKind.HEATMAP: "heatmap",
    ObjectKind.HEATMAP_JPEG: "heatmap (JPEG)",
    ObjectKind.SUMMARY: "summary sheet",
    ObjectKind.SUMMARY_JPEG: "summary sheet (JPEG)",
}


@dataclass(frozen=True, slots=True)
class OverlayChoice:
    """A finding whose overlay can be drawn; `words` give its probability and threshold."""

    label: str
    name: str
    words: str
    query: str


@dataclass(frozen=True, slots=True)
class KeptPicture:
    """A picture made of the film that is kept as a DICOM object."""

    name: str
    query: str


@dataclass(frozen=True, slots=True)
class FilmPanel:
    """A film on a page.

    `path` is that of the film below the root, `source` the query of a URL without any other value,
    and `more` the same behind other values. `absence` says why there is no picture; it is empty if
    there may be one. `without_map` names the findings present whose heatmap is kept, but not the
    map to draw an overlay.
    """

    number: int
    path: str
    source: str
    title: str
    absence: str
    overlays: tuple[OverlayChoice, ...]
    kept: tuple[KeptPicture, ...]
    without_map: tuple[str, ...]

    @property
    def study(self) -> str:
        """The path of the study below the root."""
        return self.path.rpartition("/films/")[0]

    @property
    def more(self) -> str:
        """The source as a further value of a query."""
        return self.source.replace("?", "&")


def film_panel(
    site: Site, film: Instance, *, title: str = "", words: Mapping[str, str] | None = None
) -> FilmPanel:
    """Return the panel of a film. Raises StorageError.

    `title` names the film in words; `words` hold, by label, what is said beside a finding.
    """
    source = f"?{urlencode({'source': film.source})}" if film.source else ""
    path = f"studies/{quote(film.study_instance_uid, safe='')}/films/{film.id}"
    present = sorted(
        (finding for finding in film.findings if finding.present),
        key=lambda finding: odds_over_threshold(finding.probability, finding.threshold),
        reverse=True,
    )
    mapped = site.store.results.labels_with_heat(film.id)
    with_map = [finding for finding in present if finding.label in mapped]
    drawn = {made.label for made in film.objects if made.kind in _HEATMAPS}
    without = [one for one in present if one not in with_map and one.label in drawn]
    return FilmPanel(
        number=film.id,
        path=path,
        source=source,
        title=title or f"Film {film.id}",
        absence=absence_of(film),
        overlays=tuple(_choice(finding, words or {}) for finding in with_map),
        kept=tuple(
            _kept(made) for made in film.objects if made.kind in PICTURES and made.purged_at is None
        ),
        without_map=tuple(_name(finding.label) for finding in without),
    )


def _choice(finding: FindingRecord, words: Mapping[str, str]) -> OverlayChoice:
    said = words.get(finding.label) or (
        f"probability {probability_and_threshold(finding.probability, finding.threshold)}"
    )
    return OverlayChoice(
        finding.label, _name(finding.label), said, urlencode({"finding": finding.label})
    )


def _kept(made: ObjectRecord) -> KeptPicture:
    words = [_name(made.label)] if made.label else []
    words += [_NAMES[made.kind], made.form.replace("@", "")]
    return KeptPicture(" ".join(filter(None, words)), urlencode({"uid": made.sop_instance_uid}))


def _name(label: str) -> str:
    return label.replace("_", " ")
