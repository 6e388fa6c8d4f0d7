"""The place of the spool: a folder or a bucket, and the keys of a bucket."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from daemon.config.files.permissions import readable_by_others
from daemon.config.loading import load_config
from daemon.config.settings import Config
from daemon.errors import ConfigError
from storage.files.s3.place import S3Place

KEY, SECRET = {"access_key": "me"}, {"secret_key": "x"}
BUCKET = {"url": "s3://films/node/one", "endpoint": "https://s3.example:9000"}


def load(folder: Path, **spool: Any) -> Config:
    file = folder / "config.yaml"
    file.write_text(yaml.safe_dump({"data_dir": "data", "spool": spool}), encoding="utf-8")
    return load_config(file)


def test_without_a_url_it_is_a_folder_in_the_data_folder(tmp_path: Path) -> None:
    config = load(tmp_path)
    assert config.spool_place == config.spool_folder == tmp_path / "data" / "spool"


def test_a_url_names_another_folder(tmp_path: Path) -> None:
    config = load(tmp_path, url="file:///srv/the%20films")
    assert config.spool_place == config.spool_folder == Path("/srv/the films")


def test_a_url_names_a_bucket_with_the_secret_from_a_file(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("of the key\n")
    secret.chmod(0o604)
    config = load(tmp_path, **BUCKET, **KEY, secret_key_file=secret.name, ca="ca.pem")
    place = config.spool_place
    assert isinstance(place, S3Place)
    assert config.spool_folder is None
    assert (place.bucket, place.prefix, place.path_style) == ("films", "node/one", True)
    assert (place.access_key, place.secret_key) == ("me", "of the key")
    assert place.ca == tmp_path / "ca.pem"
    assert "of the key" not in repr(place) + repr(config) + str(place)
    assert any(str(secret) in line for line in readable_by_others(config))


def test_a_secret_in_the_file_makes_the_file_secret(tmp_path: Path) -> None:
    assert load(tmp_path, **BUCKET, **KEY, **SECRET).file_is_secret
    assert not load(tmp_path, **BUCKET).file_is_secret


def test_aws_needs_no_endpoint_and_no_key(tmp_path: Path) -> None:
    place = load(tmp_path, url="s3://films").spool_place
    assert isinstance(place, S3Place)
    assert (place.prefix, place.endpoint, place.path_style) == ("", None, False)
    assert str(place) == "s3://films"


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"url": "https://films"}, "url is s3://BUCKET/PREFIX or file:///FOLDER"),
        ({"url": "s3://"}, "url is s3://BUCKET/PREFIX"),
        ({"url": "file://host/folder"}, "url is s3://BUCKET/PREFIX"),
        ({"url": "s3://me:word@films/a"}, "the credentials have keys of their own"),
        ({"url": "s3://films/a/../b"}, "url has a prefix with an empty part"),
        ({**BUCKET, "endpoint": "http://s3.example"}, "endpoint is not encrypted"),
        ({**BUCKET, "endpoint": "s3.example"}, "endpoint is the URL of the S3 service"),
        ({**BUCKET, "access_key": "me"}, "set both, or neither"),
        (
            {**BUCKET, "access_key": "me", "secret_key": "x", "secret_key_file": "y"},
            "set secret_key or secret_key_file, not both",
        ),
        ({"region": "eu-central-1"}, "region is set, and the spool is a folder"),
        ({"url": "file:///srv", "allow_http": True}, "allow_http is set, and the spool is a"),
    ],
)
def test_a_place_that_cannot_be_used_is_refused(
    tmp_path: Path, keys: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        load(tmp_path, **keys)
    assert "word" not in str(caught.value)
