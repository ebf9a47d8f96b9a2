"""Reference pictures: really decoded, turned upright, and freed of everything that is not the picture."""
