"""The list of studies: one row per study, kept with every change of a study."""
