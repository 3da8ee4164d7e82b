"""Tables, figures and the report: nothing is computed here that no metrics file holds."""
