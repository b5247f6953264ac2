"""Networks and inputs that several teachers share; no file here is a choice of a command."""
