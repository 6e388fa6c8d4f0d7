"""What each destination is sent: kinds of object, their SOP classes, the form of its pictures."""

from collections.abc import Iterable

from daemon.config.settings import Config, PeerConfig, PictureSyntax, Product
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

# In the order of delivery: what is sent of what a report names is there before it.
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
    """The kinds of object that a peer receives, in the order in which they are delivered."""
    kinds = [kind for product, kind in _KINDS.items() if product in peer.receives]
    if peer.picture_syntax is PictureSyntax.JPEG_BASELINE:
        return [_AS_JPEG.get(kind, kind) for kind in kinds]
    return kinds


def of_kind(kind: ObjectKind, made: Iterable[ObjectRecord]) -> list[ObjectRecord]:
    """What was made of an image, of this kind; its originals where no lossy copy was made."""
    records = list(made)
    found = [record for record in records if record.kind is kind]
    return found or [record for record in records if record.kind is _ORIGINALS.get(kind)]


def kinds_to_build(peers: Iterable[PeerConfig]) -> frozenset[ObjectKind]:
    """The kinds made of each film: those that some peer receives, and what these refer to.

    Heatmaps always: the report names them. A lossy copy names the picture it was made from.
    """
    wanted = {kind for peer in peers for kind in kinds_for(peer)}
    named = {original for original, copied in _AS_JPEG.items() if copied in wanted}
    return frozenset(wanted | named | {ObjectKind.HEATMAP})


def classes_for(peer: PeerConfig) -> list[str]:
    """The SOP classes a peer is sent everything it receives in; of those for reports, one."""
    return list(dict.fromkeys(uid for product in peer.receives for uid in _CLASSES[product]))


def picture_syntax(peer: PeerConfig) -> str | None:
    """The transfer syntax that the peer prefers for pictures; None for uncompressed."""
    return _SYNTAXES.get(peer.picture_syntax)


def picture_contexts(peer: PeerConfig) -> list[tuple[str, str]]:
    """What to propose besides the uncompressed syntaxes: (SOP class, transfer syntax) pairs."""
    syntax = picture_syntax(peer)
    return [(HEATMAP_CLASS, syntax)] if syntax and HEATMAP_CLASS in classes_for(peer) else []


def destination_of(config: Config, peer: PeerConfig) -> Destination:
    """The network address of a peer that has one. Raises CertificateError."""
    if peer.host is None or peer.port is None:
        raise ValueError(f"peer {peer.name} has no address")  # the configuration refuses this
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
