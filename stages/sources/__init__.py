"""Clips that lie elsewhere: on web servers, in object stores, in tars; one is fetched at a time.

`reach.py` is what each kind of place can do; `web.py` and `store.py` do it. `tar.py` finds what
lies in an archive, `archives.py` wherever that is. `fetch.py` brings its bytes, `staging.py`
gives the decoder a file.
"""
