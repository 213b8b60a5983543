"""Everything that asks remote homeservers: discovery, transport, request signing, keys, the calls of a resync."""
