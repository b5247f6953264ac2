"""avpipe: folders of video become a feature cache, the cache becomes trained sound-source localizers."""

__version__ = "0.1.0"
