"""Phrases that decide the label or the response of the rows that hold them, from candidates to p-values.

`neighbour_model` and `maximal_phrases` find and measure candidates, `insertion_score`, `label_contradiction` and
`row_similarity` are the statistics, `phrase_significance` makes p-values of them; `label_phrases`, `response_phrases`
and `surprisal_breaks` are the three searches. Imports text and what lies below it.
"""
