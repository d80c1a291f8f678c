"""The forms in which people have a dataset: folder trees, archives of arrays, IDX pairs, HDF5 files."""
