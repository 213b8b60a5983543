"""The use cases of the API, free of gRPC: what is asked of the owner of the partial rooms, over the store's protocols."""
