"""The operator's command line: `partialstate`, the extra `cli`."""
