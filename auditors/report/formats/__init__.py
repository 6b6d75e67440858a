"""The report as terminal output, CSV, JUnit XML, a section of a model card and a governance table."""
