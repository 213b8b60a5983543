"""Between the messages of the API and the client's types."""
