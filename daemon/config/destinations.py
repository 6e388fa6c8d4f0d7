"""Deliveries by destination: kinds of object, SOP classes, picture syntax and address."""

from collections.abc import Iterable

from daemon.config.peers import PeerConfig, PictureSyntax, Product
from daemon.config.picture_form import DEFAULT_FORM, PictureForm
from daemon.config.settings import Config
from daemon.config.tls import destination_context
from dicom_io.objects.classes import (
    HEATMAP_CLASS,
    PRESENTATION_CLASS,
    REPORT_CLASSES,
    SEGMENTATION_CLASS,
)
from dicom_io.objects.compression import HTJ2K, JPEG_2000, JPEG_BASELINE, RLE
from dicom_io.send.association import Destination, Timeouts
from storage.records import ObjectKind, ObjectRecord

_SYNTAXES = {
    PictureSyntax.RLE: RLE,
    PictureSyntax.HTJ2K: HTJ2K,
    PictureSyntax.JPEG_2000: JPEG_2000,
    PictureSyntax.JPEG_BASELINE: JPEG_BASELINE,
}

# In the order of delivery: the objects that a report refers to arrive before the report.
_KINDS = {
    Product.HEATMAP: ObjectKind.HEATMAP,
    Product.SUMMARY: ObjectKind.SUMMARY,
    Product.PRESENTATION_STATE: ObjectKind.PRESENTATION_STATE,
    Product.SEGMENTATION: ObjectKind.SEGMENTATION,
    Product.REPORT: ObjectKind.REPORT,
}
LOSSY_COPIES = {
    ObjectKind.HEATMAP: ObjectKind.HEATMAP_JPEG,
    ObjectKind.SUMMARY: ObjectKind.SUMMARY_JPEG,
}
"""The kind of the lossy copy of each kind of picture."""
_ORIGINALS = {copied: original for original, copied in LOSSY_COPIES.items()}
_CLASSES = {
    Product.HEATMAP: (HEATMAP_CLASS,),
    Product.SUMMARY: (HEATMAP_CLASS,),
    Product.PRESENTATION_STATE: (PRESENTATION_CLASS,),
    Product.SEGMENTATION: (SEGMENTATION_CLASS,),
    Product.REPORT: REPORT_CLASSES,
}


def kinds_for(peer: PeerConfig) -> list[ObjectKind]:
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


def kinds_to_build(peers: Iterable[PeerConfig]) -> frozenset[ObjectKind]:
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
    """Return the forms of pictures that reports of a source name, the default form first.

    Each form that a destination receives has a report of its own, so that the report names the
    pictures that the destination holds. A destination without heatmaps gets that of the default.
    """
    forms = [report_form(peer) for peer in destinations_of(config, source)]
    return tuple(dict.fromkeys([DEFAULT_FORM, *sorted(forms, key=lambda form: form.name)]))


def report_form(peer: PeerConfig) -> PictureForm:
    """Return the form of the pictures that the report for a peer names."""
    products = {Product.HEATMAP, Product.REPORT}
    return peer.picture_form if products <= set(peer.receives) else DEFAULT_FORM


def destinations_of(config: Config, source: str) -> list[PeerConfig]:
    """Return the peers that receive the results of a source."""
    return [peer for peer in config.destinations if config.routing.allows(source, peer.name)]


def classes_for(peer: PeerConfig) -> list[str]:
    """Return the SOP classes to propose to a peer; a report is sent in one of its classes."""
    return list(dict.fromkeys(uid for product in peer.receives for uid in _CLASSES[product]))


def picture_syntax(peer: PeerConfig) -> str | None:
    """Return the transfer syntax that the peer prefers for pictures; None for uncompressed."""
    return _SYNTAXES.get(peer.picture_syntax)


def picture_contexts(peer: PeerConfig) -> list[tuple[str, str]]:
    """Return (SOP class, transfer syntax) pairs to propose besides the uncompressed syntaxes."""
    syntax = picture_syntax(peer)
    return [(HEATMAP_CLASS, syntax)] if syntax and HEATMAP_CLASS in classes_for(peer) else []


def destination_of(config: Config, peer: PeerConfig) -> Destination:
    """Return a peer's network address, which it must have. Raises CertificateError."""
    if peer.host is None or peer.port is None:
        raise ValueError(f"peer {peer.name} has no address")  # PeerConfig refuses this
    seconds = config.courier.network_timeout_seconds
    return Destination(
        name=peer.name,
        ae_title=peer.ae_title,
        host=peer.host,
        port=peer.port,
        calling_ae_title=config.listener.ae_title,
        timeouts=Timeouts(seconds, seconds, seconds, seconds),
        tls=destination_context(config, peer),
    )
