"""Builds the views of the objects of a study, and of their deliveries."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence

from daemon.web.studies.study_view import (
    CountedState,
    DeliveryView,
    DestinationView,
    ObjectView,
)
from daemon.words.deliveries import answer_words, delivery_state
from daemon.worker.logs.redaction import without_comment
from storage.search.study_records import MadeObject, StudyDelivery


def object_of(
    made: MadeObject, places: Mapping[int, int], sent: Mapping[str, Sequence[StudyDelivery]]
) -> ObjectView:
    record = made.record
    return ObjectView(
        sop_instance_uid=record.sop_instance_uid,
        kind=record.kind,
        film=places.get(record.instance_id) if record.instance_id is not None else None,
        label=record.label or "",
        form=record.form,
        standing=record.standing,
        size=record.size,
        made_at=made.created_at,
        purged_at=record.purged_at,
        deliveries=tuple(_delivery(each) for each in sent.get(record.sop_instance_uid, ())),
    )


def _delivery(delivery: StudyDelivery) -> DeliveryView:
    state = delivery_state(
        delivery.state,
        delivery.attempts,
        delivered=delivery.delivered_at is not None,
        committed=delivery.committed_at is not None,
        held=delivery.held_at is not None,
    )
    return DeliveryView(
        destination=delivery.destination,
        words=state.words,
        level=state.level,
        attempts=delivery.attempts,
        delivered_at=delivery.delivered_at,
        status="; ".join(
            words for words in (answer_words(delivery.dimse_status), delivery.answer) if words
        ),
        committed_at=delivery.committed_at,
        coerced_uid=delivery.coerced_uid,
        error=without_comment(delivery.last_error or ""),
        job=delivery.job_id,
    )


def destinations_of(objects: Iterable[ObjectView]) -> tuple[DestinationView, ...]:
    """Return the deliveries of these objects by destination, in the order of the names."""
    by_name: dict[str, list[DeliveryView]] = defaultdict(list)
    for made in objects:
        for delivery in made.deliveries:
            by_name[delivery.destination].append(delivery)
    return tuple(_destination(name, by_name[name]) for name in sorted(by_name))


def _destination(name: str, deliveries: Sequence[DeliveryView]) -> DestinationView:
    counts = Counter((each.words, each.level) for each in deliveries)
    delivered = [each.delivered_at for each in deliveries if each.delivered_at is not None]
    committed = [each.committed_at for each in deliveries if each.committed_at is not None]
    errors = [each.error for each in deliveries if each.error and each.delivered_at is None]
    return DestinationView(
        name=name,
        states=tuple(CountedState(*state, count) for state, count in counts.items()),
        delivered_at=max(delivered, default=None),
        committed_at=max(committed, default=None),
        error=errors[-1] if errors else "",
    )
