"""The web role over a store with films of every kind."""

from collections.abc import Iterator

import numpy as np
import pytest
from pydantic import SecretStr

from daemon.analyse.pipeline import Pipeline
from daemon.config.peers import PeerConfig
from daemon.config.receivers import Product
from daemon.config.sections.web import WebConfig
from daemon.config.settings import Config
from dicom_io.phantom import PhantomView
from tests.builders.bench import SENDS, open_bench
from tests.builders.images.films import chest_film, chest_values, file_bytes, film
from tests.servers.film_site import FilmSite, change
from tests.servers.website import site_alone
from tests.tools.ports import HOST, free_port

TURNED = ["F", "R"]
HEATMAPS = PeerConfig(
    name="pacs", ae_title="PACS", host=HOST, port=104, receives=(Product.HEATMAP,)
)


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory, pipeline: Pipeline) -> Iterator[FilmSite]:
    """A site with an analysed film, one that lies, and some that cannot be shown."""
    folder = tmp_path_factory.mktemp("shown")
    with open_bench(folder, pipeline) as bench:
        bench.config = bench.config.model_copy(update={"peers": (SENDS, HEATMAPS)})
        bench.restart()
        grey = chest_values(90, 70, 8)
        colours = np.dstack([grey, grey[::-1], grey[:, ::-1]])
        images = {
            "plain": film("plain"),
            "lying": file_bytes(chest_film(study=2, PatientOrientation=TURNED)),
            "lateral": film("lateral", view=PhantomView.LL),
            "colour": file_bytes(chest_film(colours, study=3, bits_stored=8, photometric="RGB")),
            "damaged": file_bytes(chest_film(study=4))[:-9000],
        }
        waiting = {
            "lost": file_bytes(chest_film(study=5)),
            "purged": file_bytes(chest_film(study=6)),
            "aside": file_bytes(chest_film(study=7)),
        }
        studies = {name: bench.receive(image) for name, image in images.items()}
        bench.work()
        studies |= {name: bench.receive(image) for name, image in waiting.items()}
        films = {name: bench.study(uid).instances[0] for name, uid in studies.items()}
        store = folder / "store.sqlite"
        bench.spool.delete(films["lost"].spool_path)
        change(
            store, "UPDATE instances SET purged_at = received_at WHERE id = ?", films["purged"].id
        )
        change(
            store, "UPDATE instances SET set_aside_at = received_at WHERE id = ?", films["aside"].id
        )
        config = Config(
            data_dir=folder,
            database_url=SecretStr(f"sqlite:///{store}"),
            web=WebConfig(port=free_port()),
            peers=(SENDS,),
        )
        with site_alone(config) as site:
            yield FilmSite(site, bench, films)
