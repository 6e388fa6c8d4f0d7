"""The labels of NIH ChestX-ray14."""

#: The labels of NIH ChestX-ray14 in the order of its paper (Wang et al., CVPR 2017).
LABELS: tuple[str, ...] = (
    "Atelectasis",
    "Cardiomegaly",
    "Effusion",
    "Infiltration",
    "Mass",
    "Nodule",
    "Pneumonia",
    "Pneumothorax",
    "Consolidation",
    "Edema",
    "Emphysema",
    "Fibrosis",
    "Pleural_Thickening",
    "Hernia",
)

NO_FINDING = "No Abnormalities Detected"

#: Row of a table of metrics that holds the means over the labels.
MEAN = "mean"
