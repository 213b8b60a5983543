"""The store: registry, bulk, ledger and read index over Redis or Valkey, and the embedded server."""
