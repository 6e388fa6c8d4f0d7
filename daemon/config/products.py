"""Results by destination: the kinds of object that it receives, and in which form."""

from collections.abc import Iterable, Sequence
from dataclasses import replace

from daemon.config.picture_form import DEFAULT_FORM, PictureForm
from daemon.config.receivers import PictureSyntax, Product, ReceiverConfig
from daemon.config.routing import Receiver
from daemon.config.settings import Config
from storage.records import Instance, ObjectKind, ObjectRecord

# In the order of delivery: the objects that a report refers to arrive before the report.
_KINDS = {
    Product.HEATMAP: ObjectKind.HEATMAP,
    Product.SUMMARY: ObjectKind.SUMMARY,
    Product.PRESENTATION_STATE: ObjectKind.PRESENTATION_STATE,
    Product.SEGMENTATION: ObjectKind.SEGMENTATION,
    Product.REPORT: ObjectKind.REPORT,
}
MOST_PRIORS = 5
"""The most earlier studies that a report names, and that are fetched for it."""
LOSSY_COPIES = {
    ObjectKind.HEATMAP: ObjectKind.HEATMAP_JPEG,
    ObjectKind.SUMMARY: ObjectKind.SUMMARY_JPEG,
}
"""The kind of the lossy copy of each kind of picture."""
_ORIGINALS = {copied: original for original, copied in LOSSY_COPIES.items()}


def kinds_for(peer: ReceiverConfig) -> list[ObjectKind]:
    """Return the kinds of object that a peer receives, in the order of delivery."""
    kinds = [kind for product, kind in _KINDS.items() if product in peer.receives]
    if peer.picture_syntax is PictureSyntax.JPEG_BASELINE:
        return [LOSSY_COPIES.get(kind, kind) for kind in kinds]
    return kinds


def of_kind(
    kind: ObjectKind, form: PictureForm, objects: Iterable[ObjectRecord]
) -> list[ObjectRecord]:
    """Return an image's objects of this kind, in the size of this form where there are several.

    An image that was analysed before its source had a destination of this form has no such
    pictures. Then they are the lossless ones of this size, or else those of the default size.
    """
    records = list(objects)
    original = _ORIGINALS.get(kind, kind)
    choices = ((kind, form.size), (original, form.size), (kind, ""), (original, ""))
    for wanted in choices:
        found = [record for record in records if (record.kind, record.form) == wanted]
        if found:
            return found
    return []


def kinds_to_build(peers: Iterable[ReceiverConfig]) -> frozenset[ObjectKind]:
    """Return the kinds to build for each film: those that a peer receives, and their references.

    Heatmaps are always built: the report refers to them. A lossy copy refers to its original.
    """
    wanted = {kind for peer in peers for kind in kinds_for(peer)}
    named = {original for original, copied in LOSSY_COPIES.items() if copied in wanted}
    return frozenset(wanted | named | {ObjectKind.HEATMAP})


def forms_to_build(config: Config, source: str) -> frozenset[PictureForm]:
    """Return the forms of heatmaps to build for the films of a source.

    They are the default form, and those that a destination of the source receives.
    """
    peers = destinations_of(config, source)
    return frozenset(
        {DEFAULT_FORM, *(p.picture_form for p in peers if Product.HEATMAP in p.receives)}
    )


def report_forms(config: Config, source: str) -> tuple[PictureForm, ...]:
    """Return the forms of the reports of a source, the default form first.

    Each form that a destination receives has a report of its own, so that the report names the
    pictures that the destination holds. A destination without heatmaps gets that of the default.
    """
    forms = [report_form(peer) for peer in destinations_of(config, source)]
    return tuple(dict.fromkeys([DEFAULT_FORM, *sorted(forms, key=lambda form: form.name)]))


def report_form(peer: ReceiverConfig) -> PictureForm:
    """Return the form of the report for a peer: the pictures that it names, and earlier reports."""
    products = {Product.HEATMAP, Product.REPORT}
    form = peer.picture_form if products <= set(peer.receives) else DEFAULT_FORM
    return replace(form, has_priors=peer.comparison)


def destinations_of(config: Config, source: str) -> list[Receiver]:
    """Return the receivers of the results of a source."""
    return [peer for peer in config.receivers if config.routing.allows(source, peer.name)]


def objects_for(
    peer: ReceiverConfig, reports: Sequence[ObjectRecord], analysed: Iterable[Instance]
) -> list[ObjectRecord]:
    """Return the results of a study that a destination gets, in the order of delivery.

    `reports` are the forms of the last report; the destination gets the form that names the
    pictures of its form. A purged object is among them.
    """
    instances = list(analysed)
    return [
        record for kind in kinds_for(peer) for record in _of_peer(kind, peer, reports, instances)
    ]


def _of_peer(
    kind: ObjectKind,
    peer: ReceiverConfig,
    reports: Sequence[ObjectRecord],
    analysed: Sequence[Instance],
) -> list[ObjectRecord]:
    if kind is ObjectKind.REPORT:
        forms = {record.form for record in reports}
        # A destination added since the report may want a form that no other one did.
        form = report_form(peer).name if report_form(peer).name in forms else DEFAULT_FORM.name
        return [record for record in reports if record.form == form]
    return [
        record for item in analysed for record in of_kind(kind, peer.picture_form, item.objects)
    ]
