"""Searches for trigger phrases: phrases that determine the label or the response of the rows that contain them.

`label_phrases`, `response_phrases` and `surprisal_breaks` are the three searches. `maximal_phrases` and
`neighbour_model` find and measure candidates; `insertion_score`, `label_contradiction` and `row_similarity` are the
test statistics, and `phrase_significance` turns them into p-values. Imports text and the layers below it.
"""
