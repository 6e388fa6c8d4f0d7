"""The list of studies and its export, the page of one study, its report and its objects."""
