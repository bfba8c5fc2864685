"""The statements; store/queries.py reads them."""
