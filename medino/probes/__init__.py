"""Features to few-shot numbers: probes, the study, its statistics."""
