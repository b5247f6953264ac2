"""The one place that touches HDF5: format, manifest, store, verification."""
