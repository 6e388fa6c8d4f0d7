"""Checks zip archives of torch and numpy before a library unpacks them."""

import io
import tarfile
import zipfile
from pathlib import Path

from cxr_model.errors import ModelError
from cxr_model.files.regular_file import MB

MOST_UNPACKED = 192 * MB
_MOST_MEMBERS = 5_000
_MEMBER = b"PK\x01\x02"


def check_archive(path: Path, data: bytes, error: type[ModelError]) -> None:
    """Check the content `data` of `path` if it is an archive; other content passes.

    Raises `error` for an archive of more than 5,000 members or 192 MB unpacked, a damaged one, a
    tar archive (torch would unpack it to disk) and a TorchScript archive (torch would prepare its
    code to run).
    """
    file = io.BytesIO(data)
    if not zipfile.is_zipfile(file):
        _refuse_tar(path, data, error)
        return
    if data.count(_MEMBER) > _MOST_MEMBERS:
        raise error(f"{path} is an archive of more than {_MOST_MEMBERS} members")
    try:
        with zipfile.ZipFile(file) as archive:
            members = archive.infolist()
    except (zipfile.BadZipFile, ValueError, NotImplementedError, OSError) as cause:
        raise error(f"{path} is damaged: {cause}") from cause
    unpacked = sum(member.file_size for member in members)
    if unpacked > MOST_UNPACKED:
        raise error(
            f"{path} has {unpacked / MB:,.0f} MB unpacked, more than {MOST_UNPACKED / MB:g} MB"
        )
    names = [member.filename for member in members]
    if any(name.endswith("/constants.pkl") or "/code/" in name for name in names):
        raise error(f"{path} is a TorchScript archive; import a state dict instead")


def _refuse_tar(path: Path, data: bytes, error: type[ModelError]) -> None:
    if tarfile.is_tarfile(io.BytesIO(data[: 16 * tarfile.RECORDSIZE])):
        raise error(f"{path} is a tar archive: unpack it, and import the checkpoint inside")
