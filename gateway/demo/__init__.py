"""The demo: a simulated upstream, an embedded S3 server and a webhook inbox, all real HTTP on loopback."""
