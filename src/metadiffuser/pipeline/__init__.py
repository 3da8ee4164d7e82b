"""The DAG and its records: what is made of what, what is up to date, and how a job is run."""
