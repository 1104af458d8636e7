"""The command line. `main.py` lists the commands, and imports the file of one only when it runs."""
