"""Decides who may open an association: a peer, or any caller that wants C-ECHO alone."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from pynetdicom.pdu_primitives import A_ASSOCIATE

from dicom_io.peer.peers import Caller, Peer
from dicom_io.receive.association_request import AssociationRequest
from dicom_io.receive.events import RejectReason
from dicom_io.receive.negotiation import asks_for_echo_only


@dataclass(frozen=True, slots=True)
class Verdict:
    """The reason for a rejection and the item at fault; None admits the caller.

    `is_peer` is False for a caller that is admitted for C-ECHO alone.
    """

    reason: RejectReason | None = None
    detail: str = ""
    is_peer: bool = True


@dataclass(frozen=True, slots=True)
class Admission:
    """The rules of one node; see `Node`."""

    ae_titles: Collection[str]
    peers: Sequence[Peer]
    require_called_ae_title: bool
    echo_to_any: bool

    def verdict(self, caller: Caller, request: A_ASSOCIATE, checked: AssociationRequest) -> Verdict:
        """Return the verdict on a request that is one of DICOM."""
        verdict = self._of_caller(caller, checked.calling_fault)
        unknown = (RejectReason.CALLING_AE_TITLE, RejectReason.CALLING_HOST)
        if verdict.reason in unknown and self.echo_to_any and asks_for_echo_only(request):
            may_call = not self.peers or any(peer.has_connection(caller) for peer in self.peers)
            verdict = Verdict(None if may_call else _tls_reason(caller), is_peer=False)
        if verdict.reason is not None or not self.require_called_ae_title:
            return verdict
        if checked.called_fault or str(request.called_ae_title).strip() not in self.ae_titles:
            return Verdict(RejectReason.CALLED_AE_TITLE, checked.called_fault)
        return verdict

    def _of_caller(self, caller: Caller, title_fault: str) -> Verdict:
        named = [peer for peer in self.peers if peer.ae_title == caller.ae_title]
        if title_fault or not named:
            return Verdict(RejectReason.CALLING_AE_TITLE, title_fault)
        if not any(peer.has_address(caller.address) for peer in named):
            return Verdict(RejectReason.CALLING_HOST)
        if not any(peer.matches(caller) for peer in named):
            return Verdict(_tls_reason(caller))
        return Verdict()


def _tls_reason(caller: Caller) -> RejectReason:
    """Return the TLS fault of a caller whose connection no peer may have."""
    if not caller.tls:
        return RejectReason.PLAIN_CONNECTION
    if caller.certificate is None:
        return RejectReason.NO_CERTIFICATE
    return RejectReason.WRONG_CERTIFICATE
