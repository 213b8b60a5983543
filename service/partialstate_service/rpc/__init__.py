"""The gRPC server: servicers translate, the use cases in `ownership` know no gRPC."""
