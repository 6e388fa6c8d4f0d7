"""Which presentation contexts the SCP supports, given who asks and for what."""

from pynetdicom import ALL_TRANSFER_SYNTAXES, AllStoragePresentationContexts, build_context
from pynetdicom.pdu_primitives import A_ASSOCIATE
from pynetdicom.presentation import PresentationContext

from dicom_io.commitment.messages import COMMITMENT_CLASS
from dicom_io.objects.classes import PLAIN_SYNTAXES

APPLICATION_CONTEXT = "1.2.840.10008.3.1.1.1"
"""The only one there is (PS3.7 A.2.1)."""

VERIFICATION_CLASS = "1.2.840.10008.1.1"

STORAGE_CLASSES = frozenset(
    str(context.abstract_syntax) for context in AllStoragePresentationContexts
)


def supported_contexts(
    request: A_ASSOCIATE, *, storage: bool, commitment: bool
) -> list[PresentationContext]:
    """Verification, and what else the requestor may use."""
    contexts = [build_context(VERIFICATION_CLASS)]
    if storage:
        contexts += _storage_contexts(request)
    if commitment:
        # Whichever role is proposed: a peer asks as SCU, an archive answers as SCP.
        context = build_context(COMMITMENT_CLASS, list(PLAIN_SYNTAXES))
        context.scu_role = context.scp_role = True
        contexts.append(context)
    return contexts


def _storage_contexts(request: A_ASSOCIATE) -> list[PresentationContext]:
    """Each storage class asked for, its syntaxes in the sender's order.

    A sender lists first what its files are in; one asked for anything else may be unable to
    convert, and then sends nothing at all. pynetdicom knows one order for each class, so that of
    a class in several contexts it is the order of its first mention in any of them.
    """
    asked: dict[str, dict[str, None]] = {}
    for proposed in request.presentation_context_definition_list:
        syntaxes = asked.setdefault(str(proposed.abstract_syntax), {})
        syntaxes.update(dict.fromkeys(str(uid) for uid in proposed.transfer_syntax))
    return [
        build_context(sop_class, receivable)
        for sop_class, syntaxes in asked.items()
        if sop_class in STORAGE_CLASSES
        and (receivable := [uid for uid in syntaxes if uid in RECEIVABLE_SYNTAXES])
    ]


# Everything known, so that nothing has to be transcoded to be sent here.
RECEIVABLE_SYNTAXES = frozenset((*PLAIN_SYNTAXES, *map(str, ALL_TRANSFER_SYNTAXES)))
