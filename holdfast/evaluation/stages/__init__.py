"""The sections of an evaluation, each run on an `EvaluationRun`."""
