"""The claims of the case study: one file per subject, each with a tuple `CLAIMS`."""
