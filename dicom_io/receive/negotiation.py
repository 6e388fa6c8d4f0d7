"""Presentation contexts that the SCP accepts from a caller."""

from collections.abc import Collection

from pynetdicom import ALL_TRANSFER_SYNTAXES, AllStoragePresentationContexts, build_context
from pynetdicom.pdu_primitives import A_ASSOCIATE
from pynetdicom.presentation import PresentationContext

from dicom_io.objects.classes import PLAIN_SYNTAXES, VERIFICATION

STORAGE_CLASSES = frozenset(
    str(context.abstract_syntax) for context in AllStoragePresentationContexts
)

# All known syntaxes, so that a sender need not transcode.
RECEIVABLE_SYNTAXES = frozenset((*PLAIN_SYNTAXES, *map(str, ALL_TRANSFER_SYNTAXES)))


def supported_contexts(
    request: A_ASSOCIATE,
    *,
    storage: bool,
    events: Collection[str] = (),
    others: Collection[str] = (),
) -> list[PresentationContext]:
    """Return the contexts of Verification and of the other services that the caller may use.

    A caller may take either role for the classes of `events`: a peer requests commitment as SCU,
    an archive reports it as SCP, and so does a manager of workitems.
    """
    contexts = [build_context(VERIFICATION)]
    if storage:
        contexts += _storage_contexts(request)
    for uid in events:
        context = build_context(uid, list(PLAIN_SYNTAXES))
        context.scu_role = context.scp_role = True
        contexts.append(context)
    contexts += [build_context(uid, list(PLAIN_SYNTAXES)) for uid in others]
    return contexts


def asks_for_echo_only(request: A_ASSOCIATE) -> bool:
    """Return True if every proposed presentation context is that of Verification."""
    proposed = request.presentation_context_definition_list
    return bool(proposed) and all(
        str(context.abstract_syntax) == VERIFICATION for context in proposed
    )


def _storage_contexts(request: A_ASSOCIATE) -> list[PresentationContext]:
    """Return a context for each proposed storage class, its syntaxes in the sender's order.

    A sender lists the syntaxes of its files first. A sender that cannot convert its files to the
    chosen syntax does not send them. pynetdicom keeps one order of syntaxes for each class. For a
    class in several proposed contexts this is the order of first mention in any of them.
    """
    proposed: dict[str, dict[str, None]] = {}
    for context in request.presentation_context_definition_list:
        syntaxes = proposed.setdefault(str(context.abstract_syntax), {})
        syntaxes.update(dict.fromkeys(str(uid) for uid in context.transfer_syntax))
    return [
        build_context(sop_class, receivable)
        for sop_class, syntaxes in proposed.items()
        if sop_class in STORAGE_CLASSES
        and (receivable := [uid for uid in syntaxes if uid in RECEIVABLE_SYNTAXES])
    ]
