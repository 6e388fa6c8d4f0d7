"""Opening an association with a peer, and saying in words why there is none (PS3.8)."""

import logging
import ssl
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from pydicom.uid import (
    UID,
)
from pynetdicom import AE, build_context, evt
from pynetdicom.association import Association
from pynetdicom.pdu_primitives import A_ASSOCIATE, SCP_SCU_RoleSelectionNegotiation
from pynetdicom.presentation import PresentationContext

from dicom_io.errors import AssociationError
from dicom_io.objects.classes import MAX_CONTEXTS, PLAIN_SYNTAXES, VERIFICATION
from dicom_io.peer.tls_probe import probe
from dicom_io.send.request_response import Exchange

# (source, diagnostic) of an A-ASSOCIATE-RJ that says who must change what (PS3.8 table 9-21).
_CALLING_UNKNOWN = (1, 3)

_CALLED_UNKNOWN = (1, 7)

_TRANSIENT = 2


@dataclass(frozen=True, slots=True)
class Timeouts:
    """How long to wait, in seconds: for the TCP connection, for the answer to an association
    request or release, for the answer to one message once no more of it arrives at the other side,
    and for anything at all."""

    connect: float = 10.0
    association: float = 30.0
    response: float = 120.0
    network: float = 120.0


@dataclass(frozen=True, slots=True)
class Destination:
    """Where results go: `ae_title` is called, `calling_ae_title` is how this node names itself.

    With `tls` the connection is encrypted with that context.
    """

    name: str
    ae_title: str
    host: str
    port: int
    calling_ae_title: str
    timeouts: Timeouts = Timeouts()
    tls: ssl.SSLContext | None = None


def proposals(
    sop_classes: Iterable[str], also: Iterable[tuple[str, str]] = ()
) -> list[PresentationContext]:
    """Presentation contexts: each class uncompressed, then each (class, transfer syntax) pair.

    A compressed syntax gets a context of its own, so that accepting it is the peer's only choice.
    Verification is always proposed. Raises ValueError for more than fit one association.
    """
    extra = [pair for pair in dict.fromkeys(also) if pair[1] not in PLAIN_SYNTAXES]
    plain = dict.fromkeys([*sop_classes, *(pair[0] for pair in also)])
    contexts = [
        build_context(VERIFICATION, list(PLAIN_SYNTAXES)),
        *(build_context(uid, list(PLAIN_SYNTAXES)) for uid in plain),
        *(build_context(uid, syntax) for uid, syntax in extra),
    ]
    if len(contexts) > MAX_CONTEXTS:
        raise ValueError(
            f"{len(contexts)} presentation contexts do not fit one association of {MAX_CONTEXTS}; "
            "send the files in smaller groups"
        )
    return contexts


def associate(
    destination: Destination,
    contexts: Sequence[PresentationContext],
    roles: Sequence[SCP_SCU_RoleSelectionNegotiation] = (),
) -> Association:
    """Open an association; `roles` where this side is not the SCU of a class (PS3.7 D.3.3.4).

    Raises AssociationError: retryable on a network fault or a transient rejection, not on a
    permanent one or where none of the contexts was accepted.
    """
    # Below WARNING pynetdicom prints whole messages, and with them patients' names.
    logging.getLogger("pynetdicom").setLevel(logging.WARNING)
    ae = AE(ae_title=destination.calling_ae_title)
    ae.maximum_pdu_size = 0
    ae.connection_timeout = destination.timeouts.connect
    ae.acse_timeout = destination.timeouts.association
    ae.network_timeout = destination.timeouts.network
    seen: set[str] = set()

    def note(event: evt.Event) -> None:
        seen.add(event.event.name)

    def prepare(event: evt.Event) -> None:
        opened: Any = event.assoc.dul.socket
        # pynetdicom waits without end for a peer that does not read; its time limits do not apply.
        opened.socket.settimeout(destination.timeouts.network)
        event.assoc.dimse = Exchange(
            event.assoc, opened.socket, destination.name, destination.timeouts.response
        )

    try:
        association = ae.associate(
            destination.host,
            destination.port,
            contexts=list(contexts),
            ae_title=destination.ae_title,
            ext_neg=list(roles),
            tls_args=(destination.tls, destination.host) if destination.tls else None,
            evt_handlers=[
                (evt.EVT_CONN_OPEN, note),
                (evt.EVT_CONN_OPEN, prepare),
                (evt.EVT_ACCEPTED, note),
            ],
        )
    except OSError as error:
        raise AssociationError(
            f"no connection to {_where(destination)}: {error.strerror}; check the host name",
            retryable=True,
        ) from error
    if not association.is_established:
        raise _failure(destination, association, seen)
    return association


def accepted_syntaxes(association: Association) -> dict[str, tuple[str, ...]]:
    """Transfer syntaxes that the peer accepted, by SOP class."""
    accepted: dict[str, tuple[str, ...]] = {}
    for context in association.accepted_contexts:
        uid = str(context.abstract_syntax)
        syntaxes = tuple(str(syntax) for syntax in context.transfer_syntax)
        accepted[uid] = accepted.get(uid, ()) + syntaxes
    return accepted


def uid_name(uid: str) -> str:
    """Readable name of a registered UID, with the UID itself."""
    name = UID(uid).name
    return uid if name == uid else f"{name} ({uid})"


def _failure(
    destination: Destination, association: Association, seen: set[str]
) -> AssociationError:
    where = _where(destination)
    if association.is_rejected:
        return _rejected(destination, where, association)
    if evt.EVT_ACCEPTED.name in seen:
        return AssociationError(
            f"{where} accepted none of the proposed SOP classes; "
            f"allow storage from {destination.calling_ae_title} there",
            retryable=False,
        )
    if evt.EVT_CONN_OPEN.name in seen:
        problem = _refused_over_tls(destination) or (
            "check that the port is its DICOM port and that TLS is set alike on both sides"
        )
        return AssociationError(
            f"{where} took the connection but gave no answer as a DICOM node; {problem}",
            retryable=True,
        )
    if destination.tls is not None:
        problem = _refused_over_tls(destination) or "it stands now, so try again"
        return AssociationError(
            f"no TLS connection to {where}: {problem}",
            retryable=True,
        )
    return AssociationError(
        f"no connection to {where}; check host and port, that it runs, and the firewall between",
        retryable=True,
    )


def _refused_over_tls(destination: Destination) -> str | None:
    """Why there is no TLS connection: pynetdicom only logs it."""
    if destination.tls is None:
        return None
    seconds = destination.timeouts.connect
    return probe(destination.host, destination.port, destination.tls, seconds).problem


def _where(destination: Destination) -> str:
    return f"{destination.name} ({destination.host}:{destination.port})"


def _rejected(destination: Destination, where: str, association: Association) -> AssociationError:
    answer = association.acceptor.primitive
    if not isinstance(answer, A_ASSOCIATE):
        return AssociationError(f"{where} rejected the association", retryable=True)
    cause = (answer.result_source, answer.diagnostic)
    if cause == _CALLING_UNKNOWN:
        hint = (
            f"it does not know the calling AE title {destination.calling_ae_title!r}; "
            "register this title with this machine's address there"
        )
    elif cause == _CALLED_UNKNOWN:
        hint = (
            f"it is not called {destination.ae_title!r}; "
            "set ae_title of this peer to the AE title that is configured there"
        )
    else:
        hint = f"reason: {answer.reason_str}"
    kind = "for now" if answer.result == _TRANSIENT else "permanently"
    return AssociationError(
        f"{where} rejected the association {kind}: {hint}", retryable=answer.result == _TRANSIENT
    )
