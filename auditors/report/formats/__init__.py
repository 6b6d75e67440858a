"""The report as a table in a terminal, CSV, JUnit XML, a section of a model card, and a table for governance."""
