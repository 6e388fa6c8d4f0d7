"""Opens associations with peers, and explains failures (PS3.8)."""

import logging
import ssl
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from pydicom.uid import UID
from pynetdicom import AE, build_context, evt
from pynetdicom.association import Association
from pynetdicom.pdu_primitives import A_ASSOCIATE, SCP_SCU_RoleSelectionNegotiation
from pynetdicom.presentation import PresentationContext

from dicom_io.errors import AssociationError
from dicom_io.objects.classes import MAX_CONTEXTS, PLAIN_SYNTAXES, VERIFICATION
from dicom_io.peer.tls_probe import probe
from dicom_io.send.request_response import MatchingProvider, match_responses

# (source, diagnostic) of an A-ASSOCIATE-RJ for an unknown AE title (PS3.8 table 9-21).
_CALLING_UNKNOWN = (1, 3)
_CALLED_UNKNOWN = (1, 7)
_TRANSIENT = 2


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Timeouts in seconds.

    `connect` is for the TCP connection, `association` for the answer to an association request or
    release. `response` is for the answer to a message, from the time when its last byte arrived at
    the peer. `network` is for each read and write.
    """

    connect: float = 10.0
    association: float = 30.0
    response: float = 120.0
    network: float = 120.0


@dataclass(frozen=True, slots=True)
class Destination:
    """A node to send to: its AE title and address, and the AE title that this node calls it with.

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
    """Return a context for each class, uncompressed, and one for each (class, syntax) pair.

    A compressed syntax has a context of its own, so that the peer cannot choose another for it.
    Verification is always proposed. Raises ValueError if one association cannot hold all contexts.
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
    provider: type[MatchingProvider] = MatchingProvider,
) -> Association:
    """Open an association; `roles` are for classes of which this side is the SCP (PS3.7 D.3.3.4).

    `provider` matches the messages of the peer with the requests.
    Raises AssociationError: retryable on a network fault or a transient rejection, not on a
    permanent rejection or if none of the contexts was accepted.
    """
    # Below WARNING pynetdicom logs whole messages, which contain patient data.
    logging.getLogger("pynetdicom").setLevel(logging.WARNING)
    ae = AE(ae_title=destination.calling_ae_title)
    ae.maximum_pdu_size = 0
    ae.connection_timeout = destination.timeouts.connect
    ae.acse_timeout = destination.timeouts.association
    ae.network_timeout = destination.timeouts.network
    seen: set[str] = set()

    def record(event: evt.Event) -> None:
        seen.add(event.event.name)

    def prepare(event: evt.Event) -> None:
        timeouts = destination.timeouts
        match_responses(
            event.assoc, destination.name, timeouts.response, timeouts.network, provider
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
                (evt.EVT_CONN_OPEN, record),
                (evt.EVT_CONN_OPEN, prepare),
                (evt.EVT_ACCEPTED, record),
            ],
        )
    except OSError as error:
        raise AssociationError(
            f"no connection to {_address(destination)}: {error.strerror}; check the host name",
            retryable=True,
        ) from error
    if not association.is_established:
        raise _failure(destination, association, seen)
    return association


def accepted_syntaxes(association: Association) -> dict[str, tuple[str, ...]]:
    """Return the transfer syntaxes that the peer accepted, by SOP class."""
    accepted: dict[str, tuple[str, ...]] = {}
    for context in association.accepted_contexts:
        uid = str(context.abstract_syntax)
        syntaxes = tuple(str(syntax) for syntax in context.transfer_syntax)
        accepted[uid] = accepted.get(uid, ()) + syntaxes
    return accepted


def uid_name(uid: str) -> str:
    """Return the name of a registered UID together with the UID, or the UID alone."""
    name = UID(uid).name
    return uid if name == uid else f"{name} ({uid})"


def _failure(
    destination: Destination, association: Association, seen: set[str]
) -> AssociationError:
    where = _address(destination)
    if association.is_rejected:
        return _rejected(destination, where, association)
    if evt.EVT_ACCEPTED.name in seen:
        return AssociationError(
            f"{where} accepted none of the proposed SOP classes; "
            f"allow storage from {destination.calling_ae_title} there",
            retryable=False,
        )
    if evt.EVT_CONN_OPEN.name in seen:
        problem = _tls_problem(destination) or (
            "check that the port is its DICOM port and that TLS is set alike on both sides"
        )
        return AssociationError(
            f"{where} took the connection but gave no answer as a DICOM node; {problem}",
            retryable=True,
        )
    if destination.tls is not None:
        problem = _tls_problem(destination) or "it stands now, so try again"
        return AssociationError(
            f"no TLS connection to {where}: {problem}",
            retryable=True,
        )
    return AssociationError(
        f"no connection to {where}; check host and port, that it runs, and the firewall between",
        retryable=True,
    )


def _tls_problem(destination: Destination) -> str | None:
    """Return the TLS problem of a new connection, since pynetdicom only logs its own."""
    if destination.tls is None:
        return None
    seconds = destination.timeouts.connect
    return probe(destination.host, destination.port, destination.tls, seconds).problem


def _address(destination: Destination) -> str:
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
