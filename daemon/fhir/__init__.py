"""Reports as FHIR resources; FHIR servers as destinations of them."""
