"""The bucket: where finished videos and reference pictures lie."""
