"""Audits by schedule or on changes of the data: the deployment, its memory of earlier audits, and alerts."""
