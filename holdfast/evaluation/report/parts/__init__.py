"""Parts of the report's schema, by subject; `holdfast.evaluation.report.results` is the whole of it."""
