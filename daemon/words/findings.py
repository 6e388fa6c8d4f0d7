"""The findings in plain words: the sign on the film, and what can look like it.

A finding is a radiographic sign, not a diagnosis. Its label comes from the reports of the training
data, and means what readers of such films mean by it.
"""

from collections.abc import Mapping
from types import MappingProxyType

from cxr_model.findings import LABELS

A_FINDING_IS = (
    "A finding is a sign on a film, not a diagnosis. Present means that the calibrated probability"
    " reached the threshold of the model; absent does not exclude the finding."
)
UNKNOWN_FINDING = "A finding of another model; it is not described here."

MEANINGS: Mapping[str, str] = MappingProxyType(
    {
        "Atelectasis": (
            "A part of a lung holds too little air and has lost volume, seen as a band or wedge of"
            " density; shallow breathing causes it as well as a blocked airway."
        ),
        "Cardiomegaly": (
            "The heart looks wide in proportion to the chest; films taken from front to back (AP),"
            " lying down or without a deep breath make it look wider than it is."
        ),
        "Effusion": (
            "Fluid between lung and chest wall, seen as a blunted angle or a rising density at the"
            " base; the film shows neither its kind nor its cause."
        ),
        "Infiltration": (
            "An ill-defined patchy density in a lung; an old and loose term that overlaps with"
            " consolidation, edema and pneumonia, and on which readers often differ."
        ),
        "Mass": (
            "A rounded density of more than 3 cm in lung, pleura or mediastinum; a film cannot tell"
            " a tumour from other causes."
        ),
        "Nodule": (
            "A rounded density of up to 3 cm; vessels, ribs and nipples can look like it, and a"
            " film cannot tell a harmless nodule from another."
        ),
        "Pneumonia": (
            "A density that the reports of the training data took for an infection of the lung;"
            " whether it is one follows from symptoms and tests, not from the film alone."
        ),
        "Pneumothorax": (
            "Air between lung and chest wall, seen as a fine line without lung markings beyond it;"
            " folds of skin can look like it, and a small one may be invisible."
        ),
        "Consolidation": (
            "The air spaces of a part of a lung are filled, with fluid, pus, blood or cells, so"
            " that it looks white and hides the vessels."
        ),
        "Edema": (
            "Signs of fluid in the tissue of the lungs, such as hazy vessels and fine lines at the"
            " edges; a weak heart is the usual cause, not the only one."
        ),
        "Emphysema": (
            "Large, dark lungs with few vessels and a flat diaphragm, as after lasting loss of lung"
            " tissue; early emphysema does not show on a film."
        ),
        "Fibrosis": (
            "Signs of scars in a lung: fine lines, a net of lines or drawn structures, often with a"
            " loss of volume."
        ),
        "Pleural_Thickening": (
            "The lining between lung and chest wall looks thick, often as an old scar; fat along"
            " the ribs and a little fluid can look like it."
        ),
        "Hernia": (
            "A part of the stomach or bowel lies in the chest, most often behind the heart, where"
            " it may hold air and fluid; it was rare in the training data."
        ),
    }
)


def meaning_of(label: str) -> str:
    """Return a sentence on what a finding means on a film, and does not mean."""
    return MEANINGS.get(label, UNKNOWN_FINDING)


def title_of(label: str) -> str:
    """Return the name of a finding for people: `Pleural Thickening`."""
    return label.replace("_", " ")


def in_order(label: str) -> int:
    """Return the place of a label in the order of the model; labels of other models come last."""
    return LABELS.index(label) if label in LABELS else len(LABELS)
