"""Packages that take long to import: what only looks or asks does without."""

HEAVY = {
    *(
        "torch",
        "torchvision",
        "torchaudio",
        "transformers",
        "numpy",
        "scipy",
        "h5py",
        "av",
        "faiss",
    ),
    *("librosa", "matplotlib", "PIL", "soxr", "joblib", "rich", "pooch"),
}
