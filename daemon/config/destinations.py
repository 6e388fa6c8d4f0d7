"""Destinations on the network: SOP classes, picture syntax and address."""

from daemon.config.partners.destination import DestinationConfig
from daemon.config.partners.worklist import WorklistConfig
from daemon.config.peers import PeerConfig
from daemon.config.receivers import PictureSyntax, Product, ReceiverConfig
from daemon.config.settings import Config
from daemon.config.tls import destination_context, partner_context
from dicom_io.http.client import Endpoint, HttpTimeouts
from dicom_io.objects.classes import (
    HEATMAP_CLASS,
    PRESENTATION_CLASS,
    REPORT_CLASSES,
    SEGMENTATION_CLASS,
)
from dicom_io.objects.compression import HTJ2K, JPEG_2000, JPEG_BASELINE, RLE
from dicom_io.send.association import Destination, Timeouts

_WAITS_OF_AN_EXCHANGE = 20
"""Network timeouts that one request over HTTP may last with its answer."""

_SYNTAXES = {
    PictureSyntax.RLE: RLE,
    PictureSyntax.HTJ2K: HTJ2K,
    PictureSyntax.JPEG_2000: JPEG_2000,
    PictureSyntax.JPEG_BASELINE: JPEG_BASELINE,
}

_CLASSES = {
    Product.HEATMAP: (HEATMAP_CLASS,),
    Product.SUMMARY: (HEATMAP_CLASS,),
    Product.PRESENTATION_STATE: (PRESENTATION_CLASS,),
    Product.SEGMENTATION: (SEGMENTATION_CLASS,),
    Product.REPORT: REPORT_CLASSES,
}


def classes_for(peer: PeerConfig) -> list[str]:
    """Return the SOP classes to propose to a peer; a report is sent in one of its classes."""
    return list(dict.fromkeys(uid for product in peer.receives for uid in _CLASSES[product]))


def picture_syntax(peer: ReceiverConfig) -> str | None:
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


def endpoint_of(config: Config, partner: DestinationConfig | WorklistConfig) -> Endpoint:
    """Return the web service of a partner, which must have a URL. Raises CertificateError."""
    if partner.url is None:
        raise ValueError(f"partner {partner.name} has no url")  # its class refuses this
    seconds = config.courier.network_timeout_seconds
    return Endpoint(
        name=partner.name,
        url=partner.url,
        token=partner.token.get_secret_value() if partner.token else "",
        tls=partner_context(partner) if partner.url.startswith("https:") else None,
        timeouts=HttpTimeouts(seconds, seconds, _WAITS_OF_AN_EXCHANGE * seconds),
    )
