"""The bases that can be trained, one file each, and what the rest of the project asks of them."""
