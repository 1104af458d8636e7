"""The command line. Each command is a file here; `main.py` lists them and imports a command's file only when it runs."""
