"""The examples in the OpenAPI document, recorded from runs of the gateway: `make record` writes them anew."""
