"""Deliveries by destination: kinds of object, SOP classes, picture syntax and address."""

from collections.abc import Iterable

from daemon.config.peers import PeerConfig, PictureSyntax, Product
from daemon.config.settings import Config
from daemon.config.tls import destination_context
from dicom_io.objects.classes import (
    HEATMAP_CLASS,
    PRESENTATION_CLASS,
    REPORT_CLASSES,
    SEGMENTATION_CLASS,
)
from dicom_io.objects.compression import JPEG_2000, JPEG_BASELINE, RLE
from dicom_io.send.association import Destination, Timeouts
from storage.records import ObjectKind, ObjectRecord

_SYNTAXES = {
    PictureSyntax.RLE: RLE,
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
_AS_JPEG = {
    ObjectKind.HEATMAP: ObjectKind.HEATMAP_JPEG,
    ObjectKind.SUMMARY: ObjectKind.SUMMARY_JPEG,
}
_ORIGINALS = {copied: original for original, copied in _AS_JPEG.items()}
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
        return [_AS_JPEG.get(kind, kind) for kind in kinds]
    return kinds


def of_kind(kind: ObjectKind, objects: Iterable[ObjectRecord]) -> list[ObjectRecord]:
    """Return an image's objects of this kind; the originals if there are no lossy copies."""
    records = list(objects)
    found = [record for record in records if record.kind is kind]
    return found or [record for record in records if record.kind is _ORIGINALS.get(kind)]


def kinds_to_build(peers: Iterable[PeerConfig]) -> frozenset[ObjectKind]:
    """Return the kinds to build for each film: those that a peer receives, and their references.

    Heatmaps are always built: the report refers to them. A lossy copy refers to its original.
    """
    wanted = {kind for peer in peers for kind in kinds_for(peer)}
    named = {original for original, copied in _AS_JPEG.items() if copied in wanted}
    return frozenset(wanted | named | {ObjectKind.HEATMAP})


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
