"""Clips that lie elsewhere: on web servers, in object stores, in tars; one is fetched at a time.

`reach.py` is what each kind of place can do, `web.py` and `store.py` do it, `tar.py` reads the
contents of archives, `look.py` is asked while clips are planned, `staging.py` while they are decoded.
"""
