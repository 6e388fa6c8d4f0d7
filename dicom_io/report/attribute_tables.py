"""highdicom's tables of attributes, reduced to the objects that are read and made here.

highdicom looks up in them which attributes an object of a class has. They hold 100,000 rows and 66
megabytes, of which a node for radiographs needs a tenth: the modules of its own classes.
"""

from highdicom._standard_utils import (
    get_iod_module_map,
    get_module_attribute_map,
    get_sop_class_iod_map,
)

from dicom_io.objects.classes import RESULT_CLASSES

_STORAGE = "1.2.840.10008.5.1.4.1.1."
_RADIOGRAPHS = ("1", "7")
"""The branches of the image classes: CR and DX with their relatives, Secondary Captures."""


def reduce_tables() -> None:
    """Load the tables, and drop the rows that no class of this software has."""
    modules = get_iod_module_map()
    tables = get_module_attribute_map()
    needed = {
        module["key"]
        for sop_class_uid, iod in get_sop_class_iod_map().items()
        if sop_class_uid in RESULT_CLASSES or _is_radiograph(sop_class_uid)
        for module in modules[iod]
    }
    for name in set(tables) - needed:
        del tables[name]


def _is_radiograph(sop_class_uid: str) -> bool:
    branch = sop_class_uid.removeprefix(_STORAGE).partition(".")[0]
    return sop_class_uid.startswith(_STORAGE) and branch in _RADIOGRAPHS
