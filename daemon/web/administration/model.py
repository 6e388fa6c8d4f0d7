"""/model: the card of the configured model, its reliability diagrams, and the engines in use."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import Response

from daemon.charts import curves
from daemon.charts.chart import Chart
from daemon.charts.text import axis_end
from daemon.hosts.survey import Survey
from daemon.web.access.roles import Role
from daemon.web.administration.cards import Cards
from daemon.web.administration.model_views import CardView, ReliabilityView
from daemon.web.entry import Entry
from daemon.web.site import Site
from daemon.worker.board import ModelInUse, models_in_use
from daemon.worker.role import RoleName
from storage.status import ModelIdentity

_AXES = ("Mean probability", "Share with the finding")


@dataclass(frozen=True, slots=True)
class ModelElsewhere:
    """The model of an analyst that has another `data_dir`, as its host told the store."""

    host: str
    model: str


@dataclass(frozen=True, slots=True)
class ModelView:
    """The configured model, the models that the analysts of all hosts loaded, and the newest used.

    `problem` says why the bundle cannot be read now; `card` is then the last that could be read.
    """

    card: CardView | None
    problem: str
    in_use: tuple[ModelInUse, ...]
    elsewhere: tuple[ModelElsewhere, ...]
    newest_result: ModelIdentity | None


def model_entries(site: Site) -> Sequence[Entry]:
    """Return the entries of the model."""
    cards = Cards(site.config.model)
    cards.read()

    def collected() -> ModelView:
        reading = cards.read()
        return ModelView(
            card=reading.card,
            problem=reading.problem,
            in_use=(in_use := models_in_use(site.config)),
            elsewhere=_elsewhere(site.health.report().hosts, {model.host for model in in_use}),
            newest_result=site.store.status.latest_model(),
        )

    def page(request: Request) -> Response:
        view = collected()
        diagrams = [_diagram(one) for one in view.card.reliability] if view.card else []
        return site.render(request, "administration/model.html", view=view, diagrams=diagrams)

    def document(_request: Request) -> Response:
        return site.json(collected())

    return [
        Entry("/model", page, Role.VIEWER, summary="The card of the model."),
        Entry(
            "/api/model",
            document,
            Role.VIEWER,
            summary="The card of the model, and the engines in use.",
            view=ModelView,
        ),
    ]


def _elsewhere(hosts: Survey, known: Collection[str]) -> tuple[ModelElsewhere, ...]:
    return tuple(
        ModelElsewhere(role.host, role.detail)
        for role in hosts.roles
        if role.role == RoleName.ANALYST and role.works and role.detail and role.host not in known
    )


def _diagram(view: ReliabilityView) -> Chart:
    bins = [
        curves.ReliabilityBin(one.mean, one.rate, one.low, one.high, one.films) for one in view.bins
    ]
    # The diagram of a rare finding would else be a cloud in its corner.
    end = axis_end(max((max(one.mean, one.high) for one in bins), default=1.0))
    return curves.reliability(view.title, bins, _AXES, end=end)
