"""Run folders: records, weights, what training reported; runs as localizers, in and out."""
