"""How a scan works at a hospital's size: headers read and hashed in workers, a journal, columns instead of objects."""
