"""The families as gymnasium environments; no job of the pipeline uses them."""
