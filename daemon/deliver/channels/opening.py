"""The channel of a destination, by its kind."""

from collections.abc import Callable, Mapping

from daemon.config.partners.destination import DestinationConfig, DestinationKind
from daemon.config.routing import Receiver
from daemon.config.settings import Config
from daemon.deliver.channels.channel import Channel
from daemon.deliver.channels.dicom import DicomChannel
from daemon.deliver.channels.dicomweb import DicomwebChannel
from daemon.deliver.channels.fhir import FhirChannel
from daemon.deliver.channels.hl7 import Hl7Channel

_CHANNELS: Mapping[DestinationKind, Callable[[Config, DestinationConfig], Channel]] = {
    DestinationKind.DICOMWEB: DicomwebChannel,
    DestinationKind.FHIR: FhirChannel,
    DestinationKind.HL7: Hl7Channel,
}
"""The class of each kind of destination."""


def channel_to(config: Config, receiver: Receiver) -> Channel:
    """Return the channel to a receiver, not yet open. Raises CertificateError."""
    if isinstance(receiver, DestinationConfig):
        return _CHANNELS[receiver.kind](config, receiver)
    return DicomChannel(config, receiver)
