"""Acts of operators, from a command or a page: jobs and studies, done at once and audited."""
